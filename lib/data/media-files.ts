// Media that a row names: paths relative to the data file's folder (or another root), file: and data: URLs.
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import type { AudioOptions } from "../media/audio.js";
import { MediaError, reasonOf } from "../media/error.js";
import type { ImageOptions } from "../media/image.js";
import type { ImuOptions } from "../media/imu.js";
import type { MediaPart, Modality } from "../media/part.js";
import { pathOf } from "../media/source.js";
import type { VideoOptions } from "../media/video.js";
import { shown } from "./records.js";
import { DataError } from "./row.js";

export const MODALITIES = ["image", "video", "audio", "imu"] as const satisfies readonly Modality[];

export interface MediaFileOptions {
  /** Where relative paths begin. Default: the data file's folder. */
  root?: string;
  /** Refuses media outside of the root, through ".." or links too. Default false. */
  confine?: boolean;
  /** Looks whether every file is there. Default true. */
  checkFiles?: boolean;
  /** Options of the parts, e.g. { imu: { acceleration: "g" } }. */
  media?: { image?: ImageOptions; video?: VideoOptions; audio?: AudioOptions; imu?: ImuOptions };
  signal?: AbortSignal;
}

/** Turns what rows name into parts of prompts; every file is looked at once. */
export class MediaFiles {
  readonly #root: string;
  readonly #seen = new Map<string, Promise<string | undefined>>();

  constructor(
    private readonly file: string,
    private readonly options: MediaFileOptions,
  ) {
    this.#root = resolve(options.root ?? dirname(file));
  }

  async part(modality: Modality, source: unknown, row: number): Promise<MediaPart> {
    const wrong = (expected: string, got: string, remedy: string) => new DataError("E_ROW", this.file, row, expected, got, remedy);
    if (typeof source !== "string" || !source.trim()) throw wrong(`the path of the ${modality}`, shown(source), "name its file");
    const place = this.#place(source, wrong);
    if (place === undefined) return part(modality, source, this.options);
    const problem = await this.#problem(place, modality);
    if (problem) throw wrong(`the ${modality} file ${source}`, problem, `paths begin at ${this.#root}: check it, or pass root`);
    return part(modality, place, this.options);
  }

  /** An absolute path; undefined for a data: URL. */
  #place(source: string, wrong: (expected: string, got: string, remedy: string) => DataError): string | undefined {
    try {
      const path = pathOf(source);
      return path === undefined ? undefined : resolve(this.#root, path);
    } catch (cause) {
      if (cause instanceof MediaError) throw wrong(cause.expected, `${cause.got} (${shown(source)})`, "download it first");
      throw wrong("a path, a file: or a data: URL", shown(source), reasonOf(cause));
    }
  }

  #problem(place: string, modality: Modality): Promise<string | undefined> {
    const { confine = false, checkFiles = true } = this.options;
    if (!confine && !checkFiles) return Promise.resolve(undefined);
    const key = `${modality}:${place}`;
    const seen = this.#seen.get(key) ?? this.#look(place, modality, confine, checkFiles);
    this.#seen.set(key, seen);
    return seen;
  }

  async #look(place: string, modality: Modality, confine: boolean, checkFiles: boolean): Promise<string | undefined> {
    if (confine && !isInside(this.#root, place)) return "a path outside of the root";
    try {
      if (confine && !isInside(await realpath(this.#root), await realpath(place))) return "a link to outside of the root";
      const status = await stat(place);
      if (status.isDirectory() && modality === "video") return undefined; // a folder of frames
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

function part(modality: Modality, source: string, { media = {} }: MediaFileOptions): MediaPart {
  if (modality === "image") return { modality, source, options: media.image ?? {} };
  if (modality === "video") return { modality, source, options: media.video ?? {} };
  if (modality === "audio") return { modality, source, options: media.audio ?? {} };
  return { modality, source, options: media.imu ?? {} };
}
