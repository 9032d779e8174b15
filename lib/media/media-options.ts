// The options of media as data: the same names and values in scripts, in recipes, in rows of data and on the command line.
import { type Check, is, isObject, nearest, type Schema, shown } from "../core/checks.js";
import { checkOptions } from "../core/options.js";
import type { AudioOptions } from "./audio.js";
import { MediaError } from "./error.js";
import type { ImageOptions } from "./image.js";
import type { ImuOptions } from "./imu.js";
import { CHANNELS } from "./imu-columns.js";
import type { Modality } from "./part.js";
import type { VideoOptions } from "./video.js";

/** For every medium of a kind, e.g. { imu: { acceleration: "g" } }. */
export interface MediaOptions {
  image?: ImageOptions;
  video?: VideoOptions;
  audio?: AudioOptions;
  imu?: ImuOptions;
}

/** All but functions, which only a script can give. */
type AsData<T> = Record<Exclude<keyof T, "onNotice">, Check>;

const above: Check = { wanted: "a number above 0", fits: (v) => typeof v === "number" && v > 0 };
const start = is.number(0);
const seconds = above;
const columns: Check = {
  wanted: `a mapping of ${CHANNELS.join(", ")} or time to names of columns`,
  fits: (v) =>
    isObject(v) &&
    Object.entries(v).every(([key, name]) => [...CHANNELS, "time"].includes(key) && (is.text.fits(name) || is.integer(1).fits(name))),
};
const LIMITS = { maxBytes: above, maxSeconds: above, maxPixels: above, maxFrames: above, maxSamples: above } as const;
const { maxBytes, maxSeconds, maxPixels, maxFrames, maxSamples } = LIMITS;

export const MEDIA_OPTIONS: Readonly<Record<Modality, Schema>> = {
  image: { maxPixels, maxBytes, grey16: is.oneOf("scale", "clip"), profile: is.oneOf("ignore", "apply") } satisfies AsData<ImageOptions>,
  video: {
    start,
    seconds,
    fps: above,
    audioTrack: is.oneOf("ignore", "part"),
    ffmpeg: is.text,
    ffprobe: is.text,
    maxPixels,
    maxFrames,
    maxSeconds,
    maxBytes,
  } satisfies AsData<VideoOptions>,
  audio: { start, seconds, maxSeconds, maxBytes, maxSamples } satisfies AsData<AudioOptions>,
  imu: {
    sampleRate: above,
    acceleration: is.oneOf("g", "m/s2", "mg"),
    gyroscope: is.oneOf("deg/s", "rad/s", "mdeg/s"),
    axes: is.listOf(is.text),
    orientation: is.oneOf("rows", "columns"),
    columns,
    place: is.text,
    time: is.oneOf("s", "ms", "us", "ns"),
    sort: is.flag,
    missing: is.oneOf("throw", "drop"),
    maxGap: is.number(0),
    row: is.integer(0),
    start,
    seconds,
    maxSeconds,
    maxBytes,
  } satisfies AsData<ImuOptions>,
};

const KNOWN = Object.fromEntries(
  Object.entries(MEDIA_OPTIONS).map(([modality, schema]) => [
    modality,
    [...Object.keys(schema), ...(modality === "video" || modality === "imu" ? ["onNotice"] : [])],
  ]),
) as unknown as Readonly<Record<Modality, readonly string[]>>;

/** Throws E_MEDIA_OPTION on an option that media of the kind do not have. `what`: the call, or the medium. */
export function checkKnown(what: string, modality: Modality, options: object): void {
  const fail = (key: string, next: string) => new MediaError("E_MEDIA_OPTION", what, "options that are known", `"${key}"`, next);
  checkOptions(what, options, KNOWN[modality], { fail });
}

export interface OptionProblem {
  /** "imu.acceleration" */
  at: string;
  expected: string;
  /** What stands there. */
  value: unknown;
  got: string;
  remedy: string;
}

/** What is wrong with the options of one medium, or undefined. */
export function optionProblem(modality: Modality, options: unknown): OptionProblem | undefined {
  const remedy = "see the options of the medium";
  if (!isObject(options)) return { at: modality, expected: "a mapping of options", value: options, got: shown(options), remedy };
  const schema = MEDIA_OPTIONS[modality];
  for (const [name, value] of Object.entries(options)) {
    const at = `${modality}.${name}`;
    const check = Object.hasOwn(schema, name) ? schema[name] : undefined;
    if (check && (value === undefined || check.fits(value))) continue;
    if (check) return { at, expected: check.wanted, value, got: shown(value), remedy: "correct the value" };
    const near = nearest(name, Object.keys(schema));
    const known = `known are ${Object.keys(schema).join(", ")}`;
    return {
      at,
      expected: "a known option",
      value: "an unknown one",
      got: "an unknown one",
      remedy: near ? `did you mean "${near}"?` : known,
    };
  }
  return undefined;
}

/** What is wrong with the options of all kinds of media, or undefined. */
export function mediaOptionsProblem(options: unknown): OptionProblem | undefined {
  const kinds = Object.keys(MEDIA_OPTIONS);
  if (!isObject(options))
    return {
      at: "media",
      expected: `a mapping of ${kinds.join(", ")}`,
      value: options,
      got: shown(options),
      remedy: "name the kind first",
    };
  for (const [modality, own] of Object.entries(options)) {
    if (!kinds.includes(modality))
      return {
        at: modality,
        expected: `one of ${kinds.join(", ")}`,
        value: "another kind",
        got: "another kind",
        remedy: "name the kind first",
      };
    const problem = own === undefined ? undefined : optionProblem(modality as Modality, own);
    if (problem) return problem;
  }
  return undefined;
}

/** What a row of data may not say: which program runs, and, where rows are not trusted, how much is read. */
export const isForbidden = (name: string, confined: boolean): boolean =>
  name === "ffmpeg" || name === "ffprobe" || (confined && Object.hasOwn(LIMITS, name));

/** The second goes before the first; columns that only the first names stay. */
export function mergedOptions(first: MediaOptions = {}, second: MediaOptions = {}): MediaOptions {
  const merged: Record<string, unknown> = { ...first };
  for (const [modality, own] of Object.entries(second)) {
    const before = merged[modality] as { columns?: object } | undefined;
    const both = before?.columns && own.columns ? { columns: { ...before.columns, ...own.columns } } : {};
    merged[modality] = { ...before, ...own, ...both };
  }
  return merged;
}
