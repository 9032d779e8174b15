// Recordings of motion sensors (accelerometer and gyroscope): a part of a prompt, and its samples.
import { kindOfValue, own } from "../core/realm.js";
import { readCsv } from "./csv.js";
import { MediaError } from "./error.js";
import { type AccelerationUnit, chooseColumns, type GyroscopeUnit, type ImuColumns, type TimeUnit } from "./imu-columns.js";
import { readImuJson } from "./imu-json.js";
import { IMU_LIMITS, matrixTrack, ownRate, sampled, type Track, tableTrack } from "./imu-track.js";
import { isNpy, readNpy } from "./npy.js";
import { bytesOf, describe, type Loading, type MediaSource } from "./source.js";
import { checkWindow } from "./window.js";

export interface ImuOptions {
  /** Samples a second. Default: by the time column or what the file says; one of them is needed. */
  sampleRate?: number;
  /** Unit of the accelerometer. Default: as a column's name says ("acc_x [g]"), else "m/s2". */
  acceleration?: AccelerationUnit;
  /** Unit of the gyroscope. Default: as a column's name says, else "rad/s". */
  gyroscope?: GyroscopeUnit;
  /** Which of the sensor's axes become x, y, z, for both sensors: ["x", "z", "-y"] turns z up into y up. */
  axes?: readonly string[];
  /** Numbers without names: "rows" is (N, 6), one row a sample; "columns" is (6, N). Default: by the shape; samples are (6, N). */
  orientation?: "rows" | "columns";
  /** How columns are called whose names are not recognised: { ax: "sensor 1", …, time: "clock" }. */
  columns?: ImuColumns;
  /** Unit of the time column. Default: by its name, else by its steps. */
  time?: TimeUnit;
  /** Where to begin, in seconds from the first sample. Default 0. */
  start?: number;
  /** How much to take, in seconds; less where the recording ends before. Default: to the end. */
  seconds?: number;
  /** Refused when what is taken is longer. Default 3600. */
  maxSeconds?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
}
/** Float arrays are samples, a Uint8Array or ArrayBuffer is a file. */
export type ImuSource = MediaSource | Float32Array | Float64Array | ImuRecording;
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
  return { modality: "imu", source, options };
}

/** In m/s² and rad/s at the recording's own rate; at its usual rate, by linear interpolation, where its time stamps are irregular. */
export async function loadImu(part: ImuPart, loading: Loading = {}): Promise<ImuRecording> {
  const what = nameOf(part.source);
  const track = await readTrack(part, loading);
  return sampled(track, ownRate(track, what), part.options, what);
}

/** The same at any rate, by linear interpolation between the samples as they were recorded. */
export async function loadImuAt(part: ImuPart, sampleRate: number, loading: Loading = {}): Promise<ImuRecording> {
  return sampled(await readTrack(part, loading), sampleRate, part.options, nameOf(part.source));
}

async function readTrack({ source, options: given }: ImuPart, loading: Loading): Promise<Track> {
  const options = isRecording(source) ? { ...given, sampleRate: source.sampleRate } : given;
  const what = nameOf(source);
  loading.signal?.throwIfAborted();
  checkOptions(what, options);
  const floats = floatsIn(source);
  if (floats) return listTrack(floats, options, what);
  if (isRecording(source)) return listTrack(source.samples, options, what);
  const bytes = await bytesOf(source as MediaSource, options.maxBytes ?? IMU_LIMITS.maxBytes, loading);
  if (isNpy(bytes)) return matrixTrack(readNpy(bytes, what), options, what);
  const text = textOf(bytes, what);
  const choose = (names: readonly string[], rate = options.sampleRate) =>
    chooseColumns(names, options.columns ?? {}, rate === undefined, what);
  if (/^\ufeff?\s*[[{]/.test(text)) {
    const json = readImuJson(text, what);
    const sampleRate = options.sampleRate ?? json.sampleRate;
    const known = sampleRate === undefined ? options : { ...options, sampleRate };
    if ("matrix" in json) return matrixTrack(json.matrix, known, what);
    const choice = choose(json.names, sampleRate);
    return tableTrack(json.table(choice.places), choice, known, what);
  }
  const { table, choice } = await readCsv(text, what, choose, loading);
  return tableTrack(table, choice, options, what);
}

const isRecording = (source: unknown): source is ImuRecording => typeof source === "object" && source !== null && "samples" in source;

const nameOf = (source: ImuSource): string => (isRecording(source) ? "samples" : describe(source));

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
  return matrixTrack({ values, shape: orientation === "rows" ? [n, 6] : [6, n] }, { ...options, orientation }, what);
}

function textOf(bytes: Uint8Array, what: string): string {
  if (bytes.includes(0))
    throw new MediaError("E_MEDIA_FORMAT", what, "a CSV, JSON or npy file", "binary data", "export the recording as CSV in UTF-8");
  return new TextDecoder().decode(bytes);
}

function checkOptions(what: string, options: ImuOptions): void {
  checkWindow(what, options);
  const { sampleRate, acceleration = "g", gyroscope = "deg/s", time = "s", orientation = "rows" } = options;
  const bad = (wanted: string, got: unknown): never => {
    throw new MediaError("E_MEDIA_OPTION", what, wanted, JSON.stringify(got) ?? String(got), "correct the option");
  };
  if (sampleRate !== undefined && !(Number.isFinite(sampleRate) && sampleRate > 0 && sampleRate <= 1e6))
    bad("sampleRate in Hz", sampleRate);
  if (!["g", "m/s2"].includes(acceleration)) bad('acceleration "g" or "m/s2"', acceleration);
  if (!["deg/s", "rad/s"].includes(gyroscope)) bad('gyroscope "deg/s" or "rad/s"', gyroscope);
  if (!["s", "ms", "us", "ns"].includes(time)) bad('time "s", "ms", "us" or "ns"', time);
  if (!["rows", "columns"].includes(orientation)) bad('orientation "rows" or "columns"', orientation);
}
