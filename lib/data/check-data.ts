// What is in a data file of any format and layout, and what is wrong with which row, before anything is trained: one row at a time, however long it is.
import { dirname } from "node:path";
import { AnymalError, expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { Turns } from "../core/turns.js";
import type { MediaPart, Modality } from "../media/part.js";
import { anyReading, ROWS_OPTIONS, type RowsOptions, renamed } from "./any-layout.js";
import { mediaColumns } from "./captions.js";
import { type CheckOptions, lengthOf } from "./check.js";
import { type LayoutName, layoutOf } from "./layouts.js";
import { MediaFiles } from "./media-files.js";
import { READERS, type ReaderName } from "./readers.js";
import { recordChunks } from "./record-chunks.js";
import type { DataRecord } from "./records.js";
import { DataError, mediaOf, type Row, whereOf } from "./row.js";
import { RowsBeside } from "./rows-beside.js";
import type { RecordSource } from "./sources/source.js";

export interface CheckDataOptions extends Omit<RowsOptions, "onBadRow" | "onProblem" | "onLayout">, Omit<CheckOptions, "kinds"> {
  /** Reads the file of a published data set as rows (READERS); `fix` writes these. */
  as?: ReaderName | undefined;
  /** Reads every picture, sound and recording too, which takes its time. Default false: they are looked for. */
  decode?: boolean;
  /** Writes the good rows beside the file, as NAME.clean.jsonl. Not of rows that hold their media themselves. */
  fix?: boolean;
  /** Told of every problem. */
  onProblem?: (problem: DataProblem) => void;
}
const { onBadRow: _bad, onLayout: _layout, ...ROWS } = ROWS_OPTIONS;
const OPTIONS = optionNames<CheckDataOptions>({
  ...ROWS,
  ...({ tokenizer: true, splitSpecialTokens: true, mediaLength: true, maxLength: true, decode: true, fix: true, as: true } as const),
});

export interface DataProblem {
  file: string;
  /** Counted from 1; absent of what is wrong with the file as a whole. */
  row?: number;
  column?: string;
  /** The same for all rows that have the same wrong with them. */
  cause: string;
  message: string;
}
export interface DataReport {
  file: string;
  /** Good ones. */
  rows: number;
  bad: number;
  /** Good rows of each. */
  layouts: Partial<Record<LayoutName, number>>;
  /** Questions with an answer. */
  exchanges: number;
  media: Record<Modality, number>;
  /** With a tokenizer: positions of text, and of each kind of media. */
  tokens: Record<string, number>;
  /** How many rows each cause has cost, the most first. */
  causes: Record<string, number>;
  longest: { where: string; length: number; unit: "positions" | "characters" };
  meanLength: number;
  /** How many are longer than maxLength and will be cut. */
  cut: number;
  /** The first thousand. */
  problems: DataProblem[];
  /** What `fix` has written. */
  clean?: string;
}

const MOST_PROBLEMS = 1000;

/** Rejects with what is no fault of the data: a wrong option, a disk that is full, the signal's reason. */
export async function checkData(path: string, options: CheckDataOptions = {}): Promise<DataReport> {
  checkOptions("checkData", options, OPTIONS);
  const { tokenizer, splitSpecialTokens, mediaLength, maxLength, decode = false, fix = false, as, onProblem, ...reading } = options;
  if (as !== undefined && !Object.hasOwn(READERS, as))
    throw expected("E_VALUE", "checkData: as", `one of ${Object.keys(READERS).join(", ")}`, as);
  const files = new MediaFiles(path, reading);
  const unit = tokenizer ? ("positions" as const) : ("characters" as const);
  const none = Object.fromEntries(Array.from(files.kinds.keys(), (name) => [name, 0]));
  const report: DataReport = {
    ...{ file: path, rows: 0, bad: 0, layouts: {}, exchanges: 0, media: { ...none } as DataReport["media"] },
    tokens: tokenizer ? { text: 0, ...none } : {},
    ...{ causes: {}, longest: { where: "", length: 0, unit }, meanLength: 0, cut: 0, problems: [] },
  };
  const causes = new Map<string, number>();
  const tell = (error: AnymalError, row?: number) => {
    const problem = problemOf(path, error, row);
    if (row !== undefined) report.bad++;
    causes.set(problem.cause, (causes.get(problem.cause) ?? 0) + 1);
    if (report.problems.length < MOST_PROBLEMS) report.problems.push(problem);
    onProblem?.(problem);
  };
  const made = anyReading(path, files.kinds, reading);
  const media = mediaColumns(reading.modality, files.kinds);
  const load = async (part: MediaPart) => void (await files.kinds.get(part.modality)?.load?.(part, { signal: reading.signal }));
  const one = async (record: DataRecord): Promise<{ row: Row; length: number; text: number; layout: LayoutName | undefined }> => {
    const row = await made.row(path, record, files);
    if (decode) for (const part of mediaOf(row)) await load(part);
    const length = lengthOf(row, options);
    const text = tokenizer ? lengthOf(row, { ...options, mediaLength: () => 0, maxLength: Infinity }) : length;
    return { row, length, text, layout: layoutOf(renamed(record.fields, reading.columns), files.kinds, media) };
  };
  let sum = 0;
  const count = ({ row, length, text, layout }: Awaited<ReturnType<typeof one>>) => {
    report.rows++;
    if (layout) report.layouts[layout] = (report.layouts[layout] ?? 0) + 1;
    report.exchanges += row.turns.filter(({ role }) => role === "assistant").length;
    for (const part of mediaOf(row)) {
      report.media[part.modality] = (report.media[part.modality] ?? 0) + 1;
      if (tokenizer) report.tokens[part.modality] = (report.tokens[part.modality] ?? 0) + (mediaLength?.(part) ?? 0);
    }
    if (tokenizer) report.tokens.text = (report.tokens.text ?? 0) + text;
    if (length > (maxLength ?? Infinity)) report.cut++;
    if (length > report.longest.length) report.longest = { where: row.where, length, unit };
    sum += length;
  };
  let clean: RowsBeside | undefined;
  try {
    if (fix) clean = await RowsBeside.begin(path, "clean");
    const turns = new Turns();
    const check = (records: Pick<RecordSource, "columns">) => made.check(path, records);
    for await (const some of recordChunks(path, { kinds: files.kinds, as, signal: reading.signal, check })) {
      const looked = some.map(async (given) => {
        const { number, record } = await given;
        if (record instanceof DataError) return { number, error: record };
        return { number, record, ...(await one(record).catch(ofRow)) };
      });
      for (const settled of await Promise.all(looked)) {
        if (settled.error) tell(settled.error, settled.number);
        else {
          count(settled);
          await clean?.add(path, settled.record);
        }
        await turns.next();
      }
    }
  } catch (error) {
    await clean?.drop();
    clean = undefined;
    if (!(error instanceof DataError)) throw error;
    tell(error);
  } finally {
    await clean?.close();
  }
  report.causes = Object.fromEntries([...causes].sort(([, a], [, b]) => b - a));
  report.meanLength = report.rows ? sum / report.rows : 0;
  return clean ? { ...report, clean: clean.path } : report;
}

/** What a row is at fault for; anything else is thrown. */
function ofRow(error: unknown): { error: AnymalError } {
  if (error instanceof AnymalError && error.code !== "E_DATA") return { error };
  throw error;
}

function problemOf(file: string, error: AnymalError, row: number | undefined): DataProblem {
  const where = whereOf(file, row);
  const column = error instanceof DataError ? error.column : undefined;
  const message = error.message.startsWith(where) ? error.message : `${where}: ${error.message}`;
  return { file, ...(row !== undefined && { row }), ...(column !== undefined && { column }), cause: causeOf(error, file), message };
}

/** The sentence without what is this row's alone: names of files, what was quoted, numbers. */
function causeOf(error: AnymalError, file: string): string {
  const said =
    error instanceof DataError ? `expected ${error.expected}, got ${error.got}` : error.message.replace(/^.*?: (?=expected )/, "");
  return said
    .replaceAll(dirname(file), "…")
    .replace(/(the \w+ file) \S+(?=, got)/, "$1")
    .replace(/"[^"]*"/g, '"…"')
    .replace(/\d+(\.\d+)?/g, "N")
    .replace(/^(.{200}).*$/s, "$1…");
}
