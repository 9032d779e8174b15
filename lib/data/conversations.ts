// Conversations as LLaVA writes them: media, and turns of human and gpt whose text marks where the media stand.
import type { MediaPart, Modality } from "../media/part.js";
import { hasMark, splitAtMarks } from "./marks.js";
import { type MediaFileOptions, MediaFiles, MODALITIES } from "./media-files.js";
import { type BadRowOptions, collect, type DataRecord, isFields, keysOf, recordsOf, shown } from "./records.js";
import { DataError, type Role, type Row, type Turn, whereOf } from "./row.js";

export interface ConversationOptions extends MediaFileOptions, BadRowOptions {}

/**
 * A JSON list or JSONL of {id, image | video | audio | imu: a path or a list of them, conversations: [{from: "human" | "gpt" | "system", value}]}.
 * The n-th <image> of a row is its n-th image; media that no mark places follow the first question. OpenAI's names are read too: messages, role,
 * content; and the plurals images, videos, audios, imus.
 */
export async function readConversations(path: string, options: ConversationOptions = {}): Promise<Row[]> {
  if (/\.[ct]sv$/i.test(path))
    throw new DataError(
      "E_DATA",
      path,
      undefined,
      "JSONL or a JSON list of conversations",
      "a table",
      "read captions from it, or convert it",
    );
  const files = new MediaFiles(path, options);
  return collect(path, recordsOf(path, options.signal), (record) => row(path, record, files), options);
}

type Wrong = (expected: string, got: string, remedy: string) => DataError;
const ROLES: Readonly<Record<string, Role>> = { human: "user", user: "user", gpt: "assistant", assistant: "assistant", system: "system" };

interface Said {
  role: Role;
  pieces: (string | { modality: Modality })[];
}

async function row(path: string, { number, fields }: DataRecord, files: MediaFiles): Promise<Row> {
  const wrong: Wrong = (expected, got, remedy) => new DataError("E_ROW", path, number, expected, got, remedy);
  const said = turnsOf(fields, wrong);
  const media = await mediaOf(fields, files, number);
  placeUnmarked(said, media);
  countMarks(said, media, wrong);
  const next = new Map(MODALITIES.map((modality) => [modality, 0]));
  const take = (modality: Modality): MediaPart => {
    const n = next.get(modality) as number;
    next.set(modality, n + 1);
    return media.get(modality)![n] as MediaPart;
  };
  const turns = said.map(({ role, pieces }): Turn => {
    return { role, content: pieces.map((piece) => (typeof piece === "string" ? piece : take(piece.modality))) };
  });
  return { where: whereOf(path, number), turns };
}

function turnsOf(fields: DataRecord["fields"], wrong: Wrong): Said[] {
  const list = fields.conversations ?? fields.messages;
  if (!Array.isArray(list) || !list.length)
    throw wrong("conversations, a list of turns", list === undefined ? keysOf(fields) : shown(list), "write [{from, value}, …]");
  const said = list.map((turn, i) => turnOf(turn, i + 1, wrong));
  if (typeof fields.system === "string" && fields.system && said[0]?.role !== "system")
    said.unshift({ role: "system", pieces: splitAtMarks(fields.system) });
  const spoken = said.filter(({ role }) => role !== "system");
  if (said.some(({ role }, i) => role === "system" && i > 0))
    throw wrong("the system's turn first", `it as turn ${said.findLastIndex(({ role }) => role === "system") + 1}`, "move it up");
  for (const [i, { role }] of spoken.entries())
    if (role !== (i % 2 ? "assistant" : "user"))
      throw wrong(
        "turns of human and gpt by turns, human first",
        `${role === "user" ? "human" : "gpt"} as number ${i + 1}`,
        "reorder them",
      );
  if (spoken.length % 2 || !spoken.length) throw wrong("an answer to every question", "none to the last", "add it, or drop the question");
  return said;
}

function turnOf(turn: unknown, number: number, wrong: Wrong): Said {
  if (!isFields(turn)) throw wrong(`turn ${number} as {from, value}`, shown(turn), "write one object a turn");
  const from = turn.from ?? turn.role;
  const role = typeof from === "string" && Object.hasOwn(ROLES, from) ? ROLES[from] : undefined;
  if (!role) throw wrong(`turn ${number} from human, gpt or system`, shown(from), "rename the role");
  const text = turn.value ?? turn.content;
  if (typeof text !== "string" || !text.trim())
    throw wrong(`turn ${number} (${String(from)}) with text`, shown(text), "write what is said, or leave the exchange out");
  const mark = role === "assistant" ? hasMark(text) : undefined;
  if (mark) throw wrong(`an answer of words in turn ${number}`, mark, "marks belong into the human's turns");
  return { role, pieces: role === "assistant" ? [text] : splitAtMarks(text) };
}

async function mediaOf(fields: DataRecord["fields"], files: MediaFiles, number: number): Promise<Map<Modality, MediaPart[]>> {
  const entries = MODALITIES.map(async (modality): Promise<[Modality, MediaPart[]]> => {
    const named = [fields[modality], fields[`${modality}s`]].filter((value) => value !== undefined && value !== null).flat(1);
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
  said.flatMap(({ pieces }) => pieces).filter((piece) => typeof piece !== "string" && piece.modality === modality).length;

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
