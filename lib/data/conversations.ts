// Conversations as LLaVA writes them: media, and turns of human and gpt whose text marks where the media stand.
import { checkOptions, optionNames } from "../core/options.js";
import { BUILT_IN, type Kinds } from "../media/kinds/index.js";
import type { MediaPart, Modality } from "../media/part.js";
import { type Piece, type Place, piecesOf, type Wrong } from "./content-parts.js";
import { layoutOf } from "./layouts.js";
import { splitAtMarks } from "./marks.js";
import { MEDIA_FILE_OPTIONS, type MediaFileOptions, MediaFiles } from "./media-files.js";
import { messagesOf, weightOf } from "./messages.js";
import { isMic, micFields } from "./mic.js";
import type { Reading } from "./open-rows.js";
import { BAD_ROW_OPTIONS, type BadRowOptions, collect, type DataRecord, isFields, keysOf, recordsOf, shown } from "./records.js";
import { DataError, type Role, type Row, type Turn, whereOf } from "./row.js";

export interface ConversationOptions extends MediaFileOptions, BadRowOptions {}
const OPTIONS = optionNames<ConversationOptions>({ ...MEDIA_FILE_OPTIONS, ...BAD_ROW_OPTIONS });

/**
 * A JSON list or JSONL of {id, image (or another kind): a path or a list of them, conversations: [{from: "human" | "gpt" | "system", value}]}.
 * The n-th <image> of a row is its n-th image; media that no mark places follow the first question. OpenAI's names are read too: messages, role,
 * content, also as a list of parts; and plurals, such as images; LLaMA-Factory's and ms-swift's rows, instructions with output, MIC's instances, and
 * questions with answers (LAYOUTS). A message's weight says how much its tokens count.
 * As LLaVA reads its own mixture: in a row without any media the marks are plain text, answers before the first question and a last question without
 * an answer are left out, and questions in a row are one.
 */
export async function readConversations(path: string, options: ConversationOptions = {}): Promise<Row[]> {
  checkOptions("readConversations", options, OPTIONS);
  const files = new MediaFiles(path, options);
  return collect(
    path,
    noTable(path, recordsOf(path, options.signal, files.kinds)),
    (record) => conversationRow(path, record, files),
    options,
  );
}

export const conversationReading: Reading = {
  check(path, { columns }) {
    if (columns && !ofTalk(columns)) throw ofTable(path);
  },
  row: conversationRow,
};

async function* noTable(path: string, records: AsyncIterable<DataRecord | DataError>): AsyncGenerator<DataRecord | DataError> {
  for await (const record of records) {
    if (!(record instanceof DataError) && record.table && !ofTalk(Object.keys(record.fields))) throw ofTable(path);
    yield record;
  }
}

/** A table may hold questions and answers. */
const ofTalk = (columns: readonly string[]): boolean => {
  const layout = layoutOf(Object.fromEntries(columns.map((name) => [name, ""])), BUILT_IN, []);
  return layout === "alpaca" || layout === "mic" || layout === "query-response" || layout === "question-answer";
};
const ofTable = (path: string): DataError =>
  new DataError("E_DATA", path, undefined, "JSONL or a JSON list of conversations", "a table", "read captions from it, or convert it");

const ROLES: Readonly<Record<string, Role>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  system: "system",
  developer: "system",
};

interface Said {
  role: Role;
  pieces: Piece[];
  weight?: number | undefined;
}

async function conversationRow(path: string, { number, fields: given }: DataRecord, files: MediaFiles): Promise<Row> {
  const column = ["conversations", "messages", "conversation"].find((name) => Object.hasOwn(given, name));
  const wrong: Wrong = (expected, got, remedy) => new DataError("E_ROW", path, number, expected, got, remedy, { column });
  const fields = column === undefined && isMic(given) ? micFields(given, wrong) : given;
  const media = await mediaOf(fields, files, number);
  const listed = [...media.values()].some((parts) => parts.length);
  const said = exchangesOf(
    turnsOf(fields, files.kinds, wrong).map((turn) => (listed ? turn : asText(turn))),
    wrong,
  );
  placeUnmarked(said, media);
  countMarks(said, media, wrong);
  const next = new Map<string, number>();
  const take = (modality: Modality): MediaPart => {
    const n = next.get(modality) ?? 0;
    next.set(modality, n + 1);
    return media.get(modality)![n] as MediaPart;
  };
  const medium = ({ modality, source }: Place) => (source === undefined ? take(modality) : files.part(modality, source, number));
  const turns: Turn[] = [];
  for (const { role, pieces, weight } of said) {
    const content = await Promise.all(pieces.map((piece) => (typeof piece === "string" ? piece : medium(piece))));
    turns.push({ role, content, ...(weight !== undefined && { weight }) });
  }
  return { where: whereOf(path, number), turns };
}

function turnsOf(fields: DataRecord["fields"], kinds: Kinds, wrong: Wrong): Said[] {
  const list = messagesOf(fields, wrong);
  if (!Array.isArray(list) || !list.length)
    throw wrong("conversations, a list of turns", list === undefined ? keysOf(fields) : shown(list), "write [{from, value}, …]");
  const said = list.map((turn, i) => turnOf(turn, i + 1, kinds, wrong));
  if (typeof fields.system === "string" && fields.system && said[0]?.role !== "system")
    said.unshift({ role: "system", pieces: splitAtMarks(fields.system, kinds) });
  return said;
}

/** Without any media, a mark is what its letters say: a question about HTML, say. */
function asText({ pieces, ...said }: Said): Said {
  const merged: Piece[] = [];
  for (const piece of pieces) {
    const text = typeof piece === "string" ? piece : piece.part ? undefined : `<${piece.modality}>`;
    const last = merged.at(-1);
    if (text !== undefined && typeof last === "string") merged[merged.length - 1] = last + text;
    else merged.push(text ?? piece);
  }
  return { ...said, pieces: merged };
}

/** The system's turn, then questions and answers by turns, as far as there is an answer. */
function exchangesOf(said: readonly Said[], wrong: Wrong): Said[] {
  if (said.some(({ role }, i) => role === "system" && i > 0))
    throw wrong("the system's turn first", `it as turn ${said.findLastIndex(({ role }) => role === "system") + 1}`, "move it up");
  const kept: Said[] = [];
  for (const turn of said) {
    const last = kept.at(-1);
    if (turn.role === "assistant" && (!last || last.role === "system")) continue; // nobody has asked
    if (turn.role === "user" && last?.role === "user") last.pieces = joined(last.pieces, turn.pieces);
    else if (turn.role === "assistant" && last?.role === "assistant")
      throw wrong(
        "turns of human and gpt by turns",
        `two of gpt in a row, the second as turn ${said.indexOf(turn) + 1}`,
        "join or split them",
      );
    else kept.push({ ...turn });
  }
  if (kept.at(-1)?.role === "user") kept.pop();
  if (kept.every(({ role, weight }) => role !== "assistant" || weight === 0) && kept.some(({ weight }) => weight === 0))
    throw wrong("an answer that counts", "weights of 0 alone", "give one another weight, or leave the row out");
  if (kept.at(-1)?.role !== "assistant") throw wrong("an answer to at least one question", "none", "add it, or leave the row out");
  for (const [i, { role, pieces }] of kept.entries()) {
    const place = role === "assistant" ? pieces.find((piece) => typeof piece !== "string") : undefined;
    if (place) throw wrong(`an answer of words in turn ${i + 1}`, `<${place.modality}>`, "marks and media belong into the human's turns");
  }
  return kept;
}

function joined(first: readonly Piece[], second: readonly Piece[]): Piece[] {
  const [last, next] = [first.at(-1), second[0]];
  if (typeof last !== "string") return [...first, "\n", ...second];
  if (typeof next !== "string") return [...first.slice(0, -1), `${last}\n`, ...second];
  return [...first.slice(0, -1), `${last}\n${next}`, ...second.slice(1)];
}

function turnOf(turn: unknown, number: number, kinds: Kinds, wrong: Wrong): Said {
  if (!isFields(turn)) throw wrong(`turn ${number} as {from, value}`, shown(turn), "write one object a turn");
  const from = turn.from ?? turn.role;
  const role = typeof from === "string" && Object.hasOwn(ROLES, from) ? ROLES[from] : undefined;
  if (!role) throw wrong(`turn ${number} from human, gpt or system`, shown(from), "rename the role, or leave the exchange out");
  const given = turn.value ?? turn.content;
  const name = `turn ${number} (${String(from)})`;
  const weight = weightOf(turn, name, role === "assistant", wrong);
  if (Array.isArray(given) && given.length) {
    const pieces = piecesOf(given, name, wrong, kinds);
    if (pieces.some((piece) => typeof piece !== "string" || piece.trim())) return { role, pieces, weight };
  }
  if (typeof given !== "string" || !given.trim())
    throw wrong(`${name} with text`, shown(given), "write what is said, or leave the exchange out");
  return { role, pieces: splitAtMarks(given, kinds), weight };
}

async function mediaOf(fields: DataRecord["fields"], files: MediaFiles, number: number): Promise<Map<Modality, MediaPart[]>> {
  const isNone = (value: unknown) => value === undefined || value === null || (typeof value === "string" && !value.trim());
  const entries = ([...files.kinds.keys()] as Modality[]).map(async (modality): Promise<[Modality, MediaPart[]]> => {
    const named = [fields[modality], fields[`${modality}s`]].filter((value) => !isNone(value)).flat(1);
    return [modality, await Promise.all(named.map((source) => files.part(modality, source, number)))];
  });
  return new Map(await Promise.all(entries));
}

/** AnyMAL's order, [<instruction> <modality_tokens>], for media of a modality that the row never marks. */
function placeUnmarked(said: readonly Said[], media: ReadonlyMap<Modality, readonly MediaPart[]>): void {
  const first = said.find(({ role }) => role === "user") as Said;
  for (const [modality, parts] of media) if (!marksOf(said, modality)) first.pieces.push(...parts.map(() => ({ modality })));
}

const marksOf = (said: readonly Said[], modality: Modality): number =>
  said
    .flatMap(({ pieces }) => pieces)
    .filter((piece) => typeof piece !== "string" && piece.source === undefined && piece.modality === modality).length;

function countMarks(said: readonly Said[], media: ReadonlyMap<Modality, readonly MediaPart[]>, wrong: Wrong): void {
  for (const [modality, parts] of media) {
    const marks = marksOf(said, modality);
    if (marks !== parts.length)
      throw wrong(
        `one ${modality} for every <${modality}>`,
        `${marks} marks and ${parts.length} under "${modality}"`,
        "add the missing, or take out what is too many",
      );
  }
}
