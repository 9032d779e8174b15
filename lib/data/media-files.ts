// Media that a row names: paths relative to the data file's folder (or another root), file: and data: URLs.
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { checkOptions } from "../core/options.js";
import { MediaError, reasonOf } from "../media/error.js";
import { type Kind, type Kinds, kindsWith, type OwnKinds } from "../media/kinds/index.js";
import { type MediaOptions, mergedOptions, optionProblem } from "../media/media-options.js";
import { checkKnown, isForbidden } from "../media/option-checks.js";
import type { MediaPart, Modality } from "../media/part.js";
import { pathOf } from "../media/source.js";
import { fetchedWith } from "./fetched.js";
import { isFields, shown } from "./records.js";
import { DataError } from "./row.js";

const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array;

type Wrong = (expected: string, got: string, remedy: string) => DataError;

export interface MediaFileOptions {
  /** Where relative paths begin. Default: the data file's folder. */
  root?: string;
  /**
   * Refuses media outside of the root, through ".." or links too, and rows that raise limits. Default: true for data that was fetched, which is a file
   * in a snapshot of the hub's cache or in a folder that huggingface_hub downloaded to; there the root is all of what was fetched with it. Else false.
   */
  confine?: boolean | undefined;
  /** Looks whether every file is there. Default true. */
  checkFiles?: boolean;
  /** Options of the parts, e.g. { imu: { acceleration: "g" } }. A row's own go before them. */
  media?: MediaOptions | undefined;
  /** Of the user's own, beside those that are here. */
  kinds?: OwnKinds | undefined;
  signal?: AbortSignal;
}

export const MEDIA_FILE_OPTIONS = {
  root: true,
  confine: true,
  checkFiles: true,
  media: true,
  kinds: true,
  signal: true,
} as const satisfies Record<keyof MediaFileOptions, true>;

/** Turns what rows name into parts of prompts; every file is looked at once. */
export class MediaFiles {
  readonly #root: string;
  /** Where a confined row's media lie; undefined: anywhere. */
  readonly #within: string | undefined;
  readonly #blobs: string | undefined;
  readonly #seen = new Map<string, Promise<string | undefined>>();
  readonly kinds: Kinds;

  constructor(
    private readonly file: string,
    private readonly options: MediaFileOptions,
  ) {
    this.kinds = kindsWith(options.kinds);
    checkOptions("media", options.media, [...this.kinds.keys()]);
    for (const [name, own] of Object.entries(options.media ?? {})) {
      const { options: schema, functions } = this.#kind(name);
      checkKnown("media", schema, own ?? {}, functions);
    }
    this.#root = resolve(options.root ?? dirname(file));
    const fetched = fetchedWith(file);
    this.#blobs = fetched?.blobs;
    if (options.confine ?? fetched !== undefined) this.#within = options.root === undefined && fetched ? fetched.folder : this.#root;
  }

  async part(modality: Modality, source: unknown, row: number): Promise<MediaPart> {
    const wrong: Wrong = (expected, got, remedy) => new DataError("E_ROW", this.file, row, expected, got, remedy, { column: modality });
    if (isBytes(source)) return this.#ofBytes(modality, source, {}, wrong);
    if (isFields(source) && isBytes(source.bytes)) {
      // As the hub's data sets hold media: the path says only where the bytes came from.
      const { bytes, path: _from, ...own } = source;
      return this.#ofBytes(modality, bytes, this.#described(modality, { ...own, path: "" }, wrong).options, wrong);
    }
    if (isFields(source) && source.bytes === null) {
      const { bytes: _none, ...rest } = source;
      return this.part(modality, rest, row);
    }
    const { path, options } = isFields(source) ? this.#described(modality, source, wrong) : { path: source, options: {} };
    // A recording may be a file for each sensor, a clip a picture for each frame. A list of a conversation's row without options has several media, each of
    // which may be a list.
    const several = this.#kind(modality).list && Array.isArray(path) && path.length > 0;
    const places: string[] = [];
    for (const one of several ? path : [path]) places.push(await this.#checked(modality, one, wrong, several));
    const all = mergedOptions(this.options.media, { [modality]: options })[modality];
    return this.#kind(modality).part(several ? places : places[0], all ?? {}) as MediaPart;
  }

  #ofBytes(modality: Modality, bytes: Uint8Array, options: object, wrong: Wrong): MediaPart {
    if (!bytes.byteLength) throw wrong(`the bytes of the ${modality}`, "none", "leave the row out");
    const all = mergedOptions(this.options.media, { [modality]: options })[modality];
    return this.#kind(modality).part(bytes, all ?? {}) as MediaPart;
  }

  #kind(name: string): Kind {
    return this.kinds.get(name) as Kind; // who asks has found it there
  }

  /** { path, … }: a medium with options of its own. */
  #described(modality: Modality, { path, ...options }: Readonly<Record<string, unknown>>, wrong: Wrong) {
    if (path === undefined)
      throw wrong(`the path of the ${modality}`, shown({ ...options }), 'name its file, or write { "path": …, options }');
    const forbidden = Object.keys(options).find((name) => isForbidden(name, this.#within !== undefined));
    if (forbidden)
      throw wrong(
        `no option ${forbidden} in a row`,
        "one",
        `give it outside of the data, as the option ${forbidden} of all ${modality} files`,
      );
    const problem = optionProblem(this.#kind(modality), options);
    if (problem) throw wrong(`${problem.at} to be ${problem.expected}`, problem.got, problem.remedy);
    return { path, options };
  }

  /** What a part is given for what a row names. */
  async #checked(modality: Modality, source: unknown, wrong: Wrong, listed = false): Promise<string> {
    if (typeof source !== "string" || !source.trim()) throw wrong(`the path of the ${modality}`, shown(source), "name its file");
    const place = this.#place(source, wrong);
    if (place === undefined) return source;
    const problem = await this.#problem(place, modality, listed);
    if (problem)
      throw wrong(
        `the ${modality} file ${source}`,
        problem,
        `paths begin at ${this.#root}${this.#within === undefined ? "" : `, and only media in ${this.#within} are read (confine)`}: check it, or pass root`,
      );
    return place;
  }

  /** An absolute path; undefined for a data: URL. */
  #place(source: string, wrong: Wrong): string | undefined {
    try {
      const path = pathOf(source);
      return path === undefined ? undefined : resolve(this.#root, path);
    } catch (cause) {
      if (!(cause instanceof MediaError)) throw cause;
      const remedy = /^file:/i.test(source) ? "name its path" : "download it first";
      throw wrong(cause.expected, `${cause.got} (${shown(source)})`, remedy);
    }
  }

  #problem(place: string, modality: Modality, listed: boolean): Promise<string | undefined> {
    const { checkFiles = true } = this.options;
    if (this.#within === undefined && !checkFiles) return Promise.resolve(undefined);
    const key = `${listed ? "listed " : ""}${modality}:${place}`;
    const seen = this.#seen.get(key) ?? this.#look(place, modality, checkFiles, listed);
    this.#seen.set(key, seen);
    return seen;
  }

  async #look(place: string, modality: Modality, checkFiles: boolean, listed: boolean): Promise<string | undefined> {
    if (this.#within !== undefined && !isInside(this.#within, place)) return "a path outside of the root";
    const { folder, files } = this.#kind(modality);
    try {
      if (this.#within !== undefined) {
        const roots = [await realpath(this.#within)];
        if (this.#blobs !== undefined) roots.push(await realpath(this.#blobs).catch(() => roots[0] as string));
        for (const one of [place, ...((await files?.(place)) ?? [])]) {
          const real = await realpath(one);
          if (!roots.some((root) => isInside(root, real))) return "a link to outside of the root";
        }
      }
      const status = await stat(place);
      if (status.isDirectory() && folder && !listed) return undefined; // of frames, of sensors
      if (!status.isFile()) return status.isDirectory() ? "a folder" : "a device or pipe";
      return status.size ? undefined : "an empty file";
    } catch (cause) {
      if (!checkFiles) return undefined;
      return (cause as NodeJS.ErrnoException).code === "ENOENT" ? "no such file" : reasonOf(cause);
    }
  }
}

function isInside(root: string, place: string): boolean {
  const way = relative(root, place);
  return way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}
