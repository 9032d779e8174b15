// Recordings of motion sensors (accelerometer and gyroscope): a part of a prompt, and its samples.
import { type Check, is, isObject } from "../core/checks.js";
import { kindOfValue, own } from "../core/realm.js";
import { inTurns, Turns } from "../core/turns.js";
import { MediaError, readingOf } from "./error.js";
import { CHANNELS, type ImuColumns } from "./imu-columns.js";
import type { AccelerationUnit, GyroscopeUnit, TimeUnit } from "./imu-names.js";
import { sayOf } from "./imu-notice.js";
import { readFiles } from "./imu-read.js";
import { matrixChannels, ownRate, sampled, type Track, trackOf } from "./imu-track.js";
import { type AsData, above, checkKnown, LIMITS, WINDOW } from "./option-checks.js";
import { checkLoading, describe, type Loading, type MediaSource } from "./source.js";
import { checkWindow } from "./window.js";

export interface ImuOptions {
  /** Samples a second. Default: by the time column or what the file says; one of them is needed. */
  sampleRate?: number;
  /** Unit of the accelerometer. Default: as a column's name says ("acc_x [g]"), else by gravity, which is 9.8 or 1; what gravity decides is told. */
  acceleration?: AccelerationUnit;
  /** Unit of the gyroscope. Default: as a column's name says, else "rad/s", unless that would be too fast for a person, which is told. */
  gyroscope?: GyroscopeUnit;
  /** Which of the sensor's axes become x, y, z, for both sensors: ["x", "z", "-y"] turns z up into y up. */
  axes?: readonly string[];
  /** Numbers without names: "rows" is (N, 6), one row a sample; "columns" is (6, N). Default: by the shape; samples are (6, N). */
  orientation?: "rows" | "columns";
  /** How columns are called whose names are not recognised: { ax: "sensor 1", …, time: "clock" }; where none has a name, their numbers from 1. */
  columns?: ImuColumns;
  /** Of several sensors in one file or folder, which: a word of its columns' or files' names, such as "hand". */
  place?: string;
  /** Unit of the time column. Default: by its name, else by its steps where they leave no doubt. */
  time?: TimeUnit;
  /** Puts rows into the order of their time. Default: only in Ego4D's files, where packets come in any order; elsewhere a clock that goes back is refused. */
  sort?: boolean;
  /** "drop" leaves out rows without a time, and of each sensor samples with an empty cell, and tells how many. Default "throw". */
  missing?: "throw" | "drop";
  /** Seconds without samples that straight lines may bridge; a longer hole is refused, one of more than 0.1 s told. Default 1. */
  maxGap?: number;
  /** Where files hold a recording in each line (UCI-HAR's Inertial Signals): which, from 0. */
  row?: number;
  /** Told what was decided about a file, in place of process.emitWarning. */
  onNotice?: (message: string) => void;
  /** Where to begin, in seconds from the first sample. Default 0. */
  start?: number;
  /** How much to take, in seconds; less where the recording ends before. Default: to the end. */
  seconds?: number;
  /** Refused when what is taken is longer. Default 3600. */
  maxSeconds?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
}

const columns: Check = {
  wanted: `a mapping of ${CHANNELS.join(", ")} or time to names of columns`,
  fits: (v) =>
    isObject(v) &&
    Object.entries(v).every(([key, name]) => [...CHANNELS, "time"].includes(key) && (is.text.fits(name) || is.integer(1).fits(name))),
};
export const IMU_OPTIONS = {
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
  ...WINDOW,
  maxSeconds: LIMITS.maxSeconds,
  maxBytes: LIMITS.maxBytes,
} satisfies AsData<ImuOptions>;

/** Float arrays are samples, a Uint8Array or ArrayBuffer is a file. A path may be a folder of one recording; a list is a file for each sensor. */
export type ImuSource = MediaSource | readonly MediaSource[] | Float32Array | Float64Array | ImuRecording;
export interface ImuPart {
  readonly modality: "imu";
  readonly source: ImuSource;
  readonly options: ImuOptions;
}

/** As loaded: m/s² and rad/s. One that is given is in the units its options say. */
export interface ImuRecording {
  /** (6, N): accelerometer x, y, z, then gyroscope x, y, z. */
  readonly samples: Float32Array;
  readonly sampleRate: number;
}

/** A recording for a prompt: CSV, JSON or npy (path, file: or data: URL, bytes), or samples. Nothing is read yet. */
export function imu(source: ImuSource, options: ImuOptions = {}): ImuPart {
  checkKnown("imu", IMU_OPTIONS, options, ["onNotice"]);
  return { modality: "imu", source, options };
}

/** In m/s² and rad/s at the recording's own rate; at its usual rate, by linear interpolation, where its time stamps are irregular. */
export async function loadImu(part: ImuPart, loading: Loading = {}): Promise<ImuRecording> {
  checkLoading("loadImu", loading);
  return loadAt(part, ownRate, loading);
}

/** The same at any rate, by linear interpolation between the samples as they were recorded; at most `most` samples. */
export async function loadImuAt(part: ImuPart, sampleRate: number, loading: Loading = {}, most = Infinity): Promise<ImuRecording> {
  checkLoading("loadImuAt", loading);
  return loadAt(part, () => sampleRate, loading, most);
}

async function loadAt(part: ImuPart, rateOf: (track: Track) => number, loading: Loading, most = Infinity): Promise<ImuRecording> {
  const what = nameOf(part.source);
  return readingOf(what, loading.signal, async () => {
    const track = await readTrack(part, loading);
    await new Turns().next();
    return inTurns(sampled(track, rateOf(track), part.options, what, sayOf(part), most), loading);
  });
}

async function readTrack(part: ImuPart, loading: Loading): Promise<Track> {
  const { source, options: given } = part;
  const options = isRecording(source) ? { ...given, sampleRate: source.sampleRate } : given;
  const what = nameOf(source);
  loading.signal?.throwIfAborted();
  checkKnown(what, IMU_OPTIONS, options, ["onNotice"]);
  checkValues(what, options);
  const floats = floatsIn(source);
  if (floats) return listTrack(floats, options, what);
  if (isRecording(source)) return listTrack(source.samples, options, what);
  return readFiles(part, source as MediaSource | readonly MediaSource[], loading);
}

const isRecording = (source: unknown): source is ImuRecording => typeof source === "object" && source !== null && "samples" in source;

const nameOf = (source: ImuSource): string =>
  isRecording(source) ? "samples" : Array.isArray(source) ? source.map(describe).join(" and ") : describe(source);

const floatsIn = (value: unknown): Float32Array | Float64Array | undefined => own(value, "Float32Array") ?? own(value, "Float64Array");

function listTrack(given: Float32Array | Float64Array, options: ImuOptions, what: string): Track {
  const values = floatsIn(given);
  if (!values?.length || values.length % 6)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "a Float32Array of 6 × N samples",
      values ? `${values.length} values` : kindOfValue(given),
      "accelerometer x, y, z and gyroscope x, y, z are needed",
    );
  const [n, orientation] = [values.length / 6, options.orientation ?? "columns"];
  const { sampleRate, acceleration = "m/s2", gyroscope = "rad/s" } = options;
  if (sampleRate === undefined)
    throw new MediaError("E_MEDIA_OPTION", what, "the option sampleRate", "numbers without time", "give the option sampleRate in Hz");
  const channels = matrixChannels({ values, shape: orientation === "rows" ? [n, 6] : [6, n] }, { ...options, orientation }, what);
  const stream = (three: Float64Array[]) => ({
    channels: three,
    origin: 0,
    rate: sampleRate,
    what,
    where: (i: number) => `${what}, sample ${i}`,
  });
  const units = { acceleration, gyroscope }; // of values in memory nothing is guessed
  return trackOf(stream(channels.slice(0, 3)), stream(channels.slice(3)), units, options.axes, what);
}

function checkValues(what: string, options: ImuOptions): void {
  checkWindow(what, options);
  const { sampleRate, acceleration = "g", gyroscope = "deg/s", time = "s", orientation = "rows", missing = "drop" } = options;
  const { sort = true, maxGap = 1, row = 0, place = "any", columns = {}, onNotice } = options;
  const bad = (wanted: string, got: unknown): never => {
    throw new MediaError("E_MEDIA_OPTION", what, wanted, JSON.stringify(got) ?? String(got), "correct the option");
  };
  if (sampleRate !== undefined && !(Number.isFinite(sampleRate) && sampleRate > 0 && sampleRate <= 1e6))
    bad("sampleRate in Hz", sampleRate);
  if (!["g", "m/s2", "mg"].includes(acceleration)) bad('acceleration "g", "m/s2" or "mg"', acceleration);
  if (!["deg/s", "rad/s", "mdeg/s"].includes(gyroscope)) bad('gyroscope "deg/s", "rad/s" or "mdeg/s"', gyroscope);
  if (!["s", "ms", "us", "ns"].includes(time)) bad('time "s", "ms", "us" or "ns"', time);
  if (!["rows", "columns"].includes(orientation)) bad('orientation "rows" or "columns"', orientation);
  if (!["throw", "drop"].includes(missing)) bad('missing "throw" or "drop"', missing);
  if (typeof sort !== "boolean") bad("sort true or false", sort);
  if (!(typeof maxGap === "number" && maxGap >= 0)) bad("maxGap in seconds", maxGap);
  if (!(Number.isSafeInteger(row) && row >= 0)) bad("row as a number from 0 on", row);
  if (typeof place !== "string" || !place.trim()) bad("place as a word", place);
  if (typeof columns !== "object" || columns === null || Array.isArray(columns)) bad('columns like { ax: "…" }', columns);
  if (onNotice !== undefined && typeof onNotice !== "function") bad("onNotice as a function", typeof onNotice);
}
