// A kind of media of the user's own: how a file of it is read, what an empty one is, and, where no encoder of a folder takes it, who makes features.
import { type Check, isObject, type Schema, shown } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { readingOf } from "../error.js";
import { above, checkKnown } from "../option-checks.js";
import type { Preview } from "../preview.js";
import { bytesOf, describe, isMediaSource, type Loading, type MediaSource, pathOf } from "../source.js";
import type { AnyPart, Kind } from "./kind.js";

/** Only a type: what the compiler takes for the one name of all kinds of users. Of a plain text, `part.modality === "image"` would not tell a picture. */
declare enum Given {
  name = "a name that a user has given",
}
/** The name of a kind of the user's own: a text. */
export type OwnName = Given;

/** A medium of such a kind, with its kind: whoever holds the part can read it. */
export interface OwnPart extends AnyPart {
  readonly modality: OwnName;
  /** Where the file is, its bytes, or what load() makes of them. */
  readonly source: unknown;
  readonly options: OwnOptions;
  // biome-ignore lint/suspicious/noExplicitAny: of whatever load() makes
  readonly kind: MediaKind<any>;
}

export interface OwnOptions {
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
  readonly [name: string]: unknown;
}

/** A file that is to be read. */
export interface Medium {
  /** How messages call it. */
  readonly what: string;
  /** undefined of bytes and data: URLs. */
  readonly path: string | undefined;
  readonly options: OwnOptions;
  readonly signal: AbortSignal | undefined;
  /** All of the file, at most options.maxBytes. */
  bytes(): Promise<Uint8Array>;
}

/** Features of media by whatever means: a network of another library, a formula. It is asked once for each medium, and never trains. */
export interface OwnEncoder<L> {
  /** Names what it computes: another key where a medium would get other features. Caches and checkpoints keep it. */
  readonly key: string;
  /** Of one medium's features. */
  readonly shape: readonly [rows: number, width: number];
  /** The features of each, row by row: rows × width finite numbers. */
  encode(media: readonly L[], loading: Loading): readonly Float32Array[] | Promise<readonly Float32Array[]>;
}

export interface MediaKindOptions<L> {
  /** Small letters, digits and _: it stands in marks (<eeg>), columns, options and names of files. */
  name: string;
  /** What one is, for help: "a recording of brain waves". */
  about?: string;
  /** A file to what the encoder takes. What it throws is told as the file's fault. */
  load(medium: Medium): L | Promise<L>;
  /** As large or as long, with nothing in it: what blank() shows a model. */
  blank(loaded: L): L | Promise<L>;
  /** What a report shows of one: pictures, curves. Default: its name alone. */
  preview?(loaded: L): Preview | Promise<Preview>;
  /** Default: three that call it by its name. */
  captionPrompts?: readonly string[];
  /** Options of its parts, as rows of data and recipes may give them. */
  options?: Schema;
  /** May a folder be one medium? load() then has its path. Default false. */
  folder?: boolean;
  /** Makes its features, unless a model is put together with another one. */
  encoder?: OwnEncoder<L>;
}

/** Makes parts when it is called: eeg("0.npy") is to a kind of one's own what image("cat.jpg") is to pictures. */
export interface MediaKind<L = unknown> extends Kind<OwnPart> {
  (source: MediaSource | L, options?: OwnOptions): OwnPart;
  readonly name: OwnName;
  readonly encoder: OwnEncoder<L> | undefined;
  /** What the encoder is given for a part. */
  load(part: OwnPart, loading?: Loading): Promise<L>;
  /** Is it one of this kind? */
  is(part: unknown): part is OwnPart;
}

const OPTIONS = optionNames<MediaKindOptions<unknown>>({
  ...{ name: true, about: true, load: true, blank: true, preview: true, captionPrompts: true, options: true, folder: true, encoder: true },
});
export const OWN_NAME: Check = {
  wanted: "small letters, digits and _, a letter first, at most 32 of them",
  fits: (v) => typeof v === "string" && /^[a-z][a-z0-9_]{0,31}$/.test(v),
};
/** Other columns of rows, and keys of a conversation's parts. */
const TAKEN =
  "answer base64 caption constructor content conversations data file file_name format id kind label llm messages path prompt question role source system text type url";
const MAX_BYTES = 256 << 20;

const fail = (at: string, wanted: string, got: unknown, next: string) => expected("E_MODALITY", at, wanted, shown(got), next);

/**
 * A kind of media of one's own, for `kinds` of AnyMAL.assemble(), AnyMAL.fromPretrained(), readCaptions() and readConversations(), and for --kinds of
 * the commands. Throws E_MODALITY on what cannot be one.
 */
export function mediaKind<L>(given: MediaKindOptions<L>): MediaKind<L> {
  checkOptions("mediaKind", given, OPTIONS);
  const { name, about = `${name}, a kind of the user's own`, folder = false, encoder } = given;
  if (!OWN_NAME.fits(name)) throw fail("mediaKind", `a name of ${OWN_NAME.wanted}`, name, 'call it "eeg", for example');
  if (TAKEN.split(" ").includes(name)) throw fail("mediaKind", "a name that no other column of a row has", name, "choose another");
  for (const call of ["load", "blank"] as const)
    if (typeof given[call] !== "function") throw fail(`mediaKind ${name}`, `${call} as a function`, given[call], "see MediaKindOptions");
  if (encoder) checkEncoder(encoder, `mediaKind ${name}`);
  const options: Schema = { ...given.options, maxBytes: above };
  const load = (part: OwnPart, loading: Loading = {}) => loaded(part, given, loading);
  const make = (source: unknown, own: OwnOptions = {}): OwnPart => {
    checkKnown(name, options, own);
    return { modality: kind.name, source, options: own, kind };
  };
  const kind = Object.assign((source: MediaSource | L, own?: OwnOptions) => make(source, own), {
    ...{ about, options, folder, encoder, load },
    captionPrompts: given.captionPrompts ?? [`Describe the ${name}.`, `What does the ${name} show?`, `Give a caption of the ${name}.`],
    part: (source: unknown, own: object) => make(source, own as OwnOptions),
    is: (part: unknown): part is OwnPart => isObject(part) && part.modality === name,
    ...(given.preview && { preview: async (part: OwnPart, loading: Loading) => given.preview?.(await load(part, loading)) }),
    blank: async (part: OwnPart, loading: Loading) => make(await given.blank(await load(part, loading)), part.options),
  }) as unknown as MediaKind<L>;
  return Object.defineProperty(kind, "name", { value: name, enumerable: true });
}

/** A path, a URL or bytes are read; whatever else stands as a source is what load() would have made. */
async function loaded<L>({ source, options }: OwnPart, { load }: MediaKindOptions<L>, { signal }: Loading): Promise<L> {
  if (!isMediaSource(source)) return source as L;
  const what = describe(source);
  signal?.throwIfAborted();
  const path = pathOf(source);
  const bytes = () => bytesOf(source, options.maxBytes ?? MAX_BYTES, { signal });
  return readingOf(what, signal, async () => load({ what, path, options, signal, bytes }));
}

/** Throws E_MODALITY where `encoder` cannot be one. */
export function checkEncoder(encoder: unknown, at: string): asserts encoder is OwnEncoder<unknown> {
  const { key, shape, encode } = Object(encoder) as Partial<OwnEncoder<unknown>>;
  const wrong = (wanted: string, got: unknown) => fail(at, wanted, got, "see OwnEncoder");
  if (typeof encode !== "function") throw wrong("an encoder with a function encode", encode);
  if (typeof key !== "string" || !key || key.length > 200)
    throw wrong("an encoder with a key, a text of at most 200 letters that names what it computes", key);
  if (!Array.isArray(shape) || shape.length !== 2 || !shape.every((n) => Number.isSafeInteger(n) && n > 0 && n <= 2 ** 20))
    throw wrong("an encoder with the shape of a medium's features, [rows, width]", shape);
}

/** Whichever build of the library has made it. */
export const isMediaKind = (value: unknown): value is MediaKind =>
  typeof value === "function" &&
  OWN_NAME.fits(value.name) &&
  ["load", "blank", "part", "is"].every((name) => typeof (value as unknown as Record<string, unknown>)[name] === "function");
