// What is in a data file, and what is wrong with it, before anything is trained.
import { checkOptions, optionNames } from "../core/options.js";
import { type Kinds, kindsWith, type OwnKinds } from "../media/kinds/index.js";
import type { MediaPart, Modality } from "../media/part.js";
import { fitParts, promptLength } from "../text/fit-parts.js";
import { promptParts } from "../text/prompt.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type CaptionOptions, readCaptions } from "./captions.js";
import { readConversations } from "./conversations.js";
import { MEDIA_FILE_OPTIONS } from "./media-files.js";
import { recordsOf } from "./records.js";
import { DataError, mediaOf, type Row, whereOf } from "./row.js";

export interface CheckOptions {
  /** Kinds of media of the user's own, which the rows may hold. */
  kinds?: OwnKinds | undefined;
  /** Also renders every row as a prompt; lengths are then positions, otherwise characters of text. */
  tokenizer?: Tokenizer;
  /** With a tokenizer: text that spells a control token is letters; by default such a row is a problem. */
  splitSpecialTokens?: boolean;
  /** Positions that a medium takes. Default 0. */
  mediaLength?: (part: MediaPart) => number;
  /** With a tokenizer: rows whose prompt leaves no room for an answer are problems, longer ones are counted. */
  maxLength?: number;
}
export type DataKind = "captions" | "conversations";
export interface CheckFileOptions extends CheckOptions, Omit<CaptionOptions, "onBadRow" | "onProblem"> {
  /** Default: conversations where the first row has some. */
  kind?: DataKind;
}

const OPTIONS = { kinds: true, tokenizer: true, splitSpecialTokens: true, mediaLength: true, maxLength: true } as const satisfies Record<
  keyof CheckOptions,
  true
>;
const FILE_OPTIONS = optionNames<CheckFileOptions>({
  ...OPTIONS,
  ...MEDIA_FILE_OPTIONS,
  ...({ kind: true, modality: true, prompts: true, seed: true } as const),
});

export interface Problem {
  where: string;
  message: string;
}
export interface CheckSummary {
  /** Good ones. */
  rows: number;
  /** Questions with an answer. */
  exchanges: number;
  media: Record<Modality, number>;
  problems: Problem[];
  longest: { where: string; length: number; unit: "positions" | "characters" };
  meanLength: number;
  /** How many are longer than maxLength and will be cut. */
  cut: number;
}

/**
 * Reads a file of captions or conversations without training on it: how much there is, and what is wrong with which row. Media are looked for, not
 * decoded.
 */
export async function checkFile(path: string, options: CheckFileOptions = {}): Promise<CheckSummary & { kind: DataKind }> {
  checkOptions("checkFile", options, FILE_OPTIONS);
  const { kind: asked, modality, prompts, seed, tokenizer, splitSpecialTokens, mediaLength, maxLength, ...files } = options;
  let kind = asked ?? "captions";
  const problems: Problem[] = [];
  const reading = { ...files, onBadRow: "skip" as const, onProblem: (problem: DataError) => problems.push(problemOf(path, problem)) };
  const captions = { ...reading, ...(modality && { modality }), ...(prompts && { prompts }), ...(seed !== undefined && { seed }) };
  let rows: Row[] = [];
  try {
    kind = asked ?? (await kindOf(path, options.signal, kindsWith(options.kinds)));
    rows = kind === "captions" ? await readCaptions(path, captions) : await readConversations(path, reading);
  } catch (cause) {
    if (!(cause instanceof DataError)) throw cause;
    if (!problems.length) problems.push(problemOf(path, cause)); // otherwise it says that no row is good
  }
  const summary = summaryOf(rows, options);
  return { kind, ...summary, problems: [...problems, ...summary.problems] };
}

/** The same of rows that were read already. */
export function checkRows(rows: readonly Row[], options: CheckOptions = {}): CheckSummary {
  checkOptions("checkRows", options, Object.keys(OPTIONS));
  return summaryOf(rows, options);
}

function summaryOf(rows: readonly Row[], options: CheckOptions): CheckSummary {
  const unit = options.tokenizer ? ("positions" as const) : ("characters" as const);
  const summary: CheckSummary = {
    rows: 0,
    exchanges: 0,
    media: Object.fromEntries(Array.from(kindsWith(options.kinds).keys(), (name) => [name, 0])) as Record<Modality, number>,
    problems: [],
    longest: { where: "", length: 0, unit },
    meanLength: 0,
    cut: 0,
  };
  let sum = 0;
  for (const row of rows) {
    try {
      const length = lengthOf(row, options);
      if (length > (options.maxLength ?? Infinity)) summary.cut++;
      if (length > summary.longest.length) summary.longest = { where: row.where, length, unit };
      sum += length;
    } catch (cause) {
      summary.problems.push({ where: row.where, message: (cause as Error).message });
      continue;
    }
    summary.rows++;
    summary.exchanges += row.turns.filter(({ role }) => role === "assistant").length;
    for (const { modality } of mediaOf(row)) summary.media[modality] = (summary.media[modality] ?? 0) + 1;
  }
  summary.meanLength = summary.rows ? sum / summary.rows : 0;
  return summary;
}

/** Throws what is wrong with the row as a prompt. */
export function lengthOf(row: Row, { tokenizer, splitSpecialTokens, mediaLength = () => 0, maxLength = Infinity }: CheckOptions): number {
  if (!tokenizer)
    return row.turns.flatMap(({ content }) => content).reduce((n, part) => n + (typeof part === "string" ? part.length : 0), 0);
  const media = mediaOf(row);
  const length = (at: number) => mediaLength(media[at]!);
  const parts = promptParts(tokenizer, row.turns, { where: row.where, splitSpecialTokens });
  fitParts(parts, maxLength, length, row.where);
  return promptLength(parts, length);
}

const problemOf = (path: string, problem: DataError): Problem => ({ where: whereOf(path, problem.row), message: problem.message });

async function kindOf(path: string, signal: AbortSignal | undefined, kinds: Kinds): Promise<DataKind> {
  for await (const record of recordsOf(path, signal, kinds)) {
    if (record instanceof DataError) continue;
    return "conversations" in record.fields || "messages" in record.fields ? "conversations" : "captions";
  }
  return "captions";
}
