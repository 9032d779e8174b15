// What a turn says, as the lists of parts that OpenAI's API, Qwen-VL and transformers' chat templates take: texts, and media in the place where they
// are seen or heard.
import type { Kind, Kinds } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import { splitAtMarks } from "./marks.js";
import { isFields, shown } from "./records.js";
import type { DataError } from "./row.js";

/** A medium's place: of the row's own media in their order, or of what the part itself names. */
export interface Place {
  modality: Modality;
  /** Of a list's part, not of a mark in a text. */
  part?: true;
  source?: unknown;
}
export type Piece = string | Place;
export type Wrong = (expected: string, got: string, remedy: string) => DataError;

const TEXT = ["text", "input_text", "output_text"];
const SOURCES = ["url", "path", "file", "value"];

/** A part's type is the modality, alone ("image"), before "_url" or behind "input_". */
const modalityIn = (type: string, kinds: Kinds): Kind | undefined =>
  kinds.get(type) ?? kinds.get(type.replace(/^input_/, "").replace(/_url$/, ""));

/** The parts as pieces. `turn` is how a message calls the turn. */
export function piecesOf(parts: readonly unknown[], turn: string, wrong: Wrong, kinds: Kinds): Piece[] {
  return parts.flatMap((part, i): Piece[] => {
    const at = `part ${i + 1} of ${turn}`;
    if (typeof part === "string") return splitAtMarks(part, kinds);
    if (!isFields(part)) throw wrong(`${at} as {type, …}`, shown(part), 'write {"type": "text", "text": …}');
    const type = String(
      part.type ?? (typeof part.text === "string" ? "text" : [...kinds.keys()].find((name) => Object.hasOwn(part, name))),
    );
    if (TEXT.includes(type)) {
      const text = part.text ?? part.value;
      if (typeof text !== "string") throw wrong(`${at} with text`, shown(text), 'write {"type": "text", "text": …}');
      return splitAtMarks(text, kinds);
    }
    const kind = modalityIn(type, kinds);
    if (!kind) throw wrong(`${at} of text or ${[...kinds.keys()].join(", ")}`, shown(part.type), "leave the part out, or convert it");
    const modality = kind.name as Modality;
    const source = sourceOf(part, type, kind, at, wrong);
    return [source === undefined ? { modality, part: true } : { modality, part: true, source }];
  });
}

/** Under the part's own type, the modality, or a plain name; undefined where the part only holds the place of one of the row's media. */
function sourceOf(
  part: Readonly<Record<string, unknown>>,
  type: string,
  { name: modality, options: schema, list }: Kind,
  at: string,
  wrong: Wrong,
) {
  const given = [type, modality, `${modality}_url`, ...SOURCES]
    .map((name) => part[name])
    .find((value) => value !== undefined && value !== null);
  // Options of the medium, beside its path as in a row.
  const options = Object.entries(part).filter(([name]) => Object.hasOwn(schema, name));
  const files = list && Array.isArray(given) && given.length > 0 && given.every((one) => typeof one === "string");
  if ((files || typeof given === "string") && options.length) return { path: given, ...Object.fromEntries(options) };
  if (files) return given; // one medium, such as a clip of pictures
  if (typeof given === "string" || given === undefined) {
    const bytes = given === undefined ? (part.base64 ?? part.data) : undefined;
    return typeof bytes === "string" ? dataUrl(modality, part.format ?? part.mime_type, bytes) : given;
  }
  if (!isFields(given)) throw wrong(`the path of the ${modality} in ${at}`, shown(given), "name its file");
  if (given.path !== undefined && Object.keys(given).length > 1) return given;
  const { data, format } = given;
  if (typeof data === "string") return dataUrl(modality, format, data);
  const inner = SOURCES.map((name) => given[name]).find((value) => typeof value === "string");
  if (inner === undefined) throw wrong(`the path of the ${modality} in ${at}`, shown(given), "name its file");
  return inner;
}

const dataUrl = (modality: string, format: unknown, data: string): string =>
  data.startsWith("data:") ? data : `data:${modality}/${typeof format === "string" ? format.replace(/^.*\//, "") : "*"};base64,${data}`;
