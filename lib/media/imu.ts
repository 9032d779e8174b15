// Recordings of motion sensors (accelerometer and gyroscope): a part of a prompt, and its samples.
import type { MediaSource } from "./source.js";

export interface ImuOptions {
  /** Samples a second. Needed where the file has neither a time column nor a rate. */
  sampleRate?: number;
  /** Unit of the accelerometer. Default "m/s2". */
  acceleration?: "g" | "m/s2";
  /** Unit of the gyroscope. Default "rad/s". */
  gyroscope?: "deg/s" | "rad/s";
  /** Which of the sensor's axes become x, y, z: ["x", "-z", "y"] turns z up into y up. */
  axes?: readonly string[];
  /** npy and typed arrays: "rows" is (N, 6), one row a sample; "columns" (6, N). Default: by the shape. */
  orientation?: "rows" | "columns";
  /** CSV and JSON: how the columns are called, where their names are not recognised: { ax: "Acc X [g]", …, time: "stamp" }. */
  columns?: ImuColumns;
  /** Unit of the time column. Default: by its name or its steps. */
  time?: "s" | "ms" | "us" | "ns";
  /** Where to begin, in seconds from the first sample. Default 0. */
  start?: number;
  /** How much to take, in seconds. Default: to the end. */
  seconds?: number;
  /** Refused when what is taken is longer. Default 3600. */
  maxSeconds?: number;
  /** Refused when the file is larger. Default 256 MiB. */
  maxBytes?: number;
}
export type ImuColumns = Partial<Record<"ax" | "ay" | "az" | "gx" | "gy" | "gz" | "time", string>>;
export interface ImuPart {
  readonly modality: "imu";
  readonly source: MediaSource | ImuRecording;
  readonly options: ImuOptions;
}

/** As loaded: m/s² and rad/s. A recording given as samples is in the units its options say. */
export interface ImuRecording {
  /** (6, N): accelerometer x, y, z, then gyroscope x, y, z. */
  readonly samples: Float32Array;
  readonly sampleRate: number;
}

/** A recording for a prompt: CSV, JSON or npy (path, file: or data: URL, bytes), or samples. Nothing is read yet. */
export function imu(source: MediaSource | ImuRecording, options: ImuOptions = {}): ImuPart {
  return { modality: "imu", source, options };
}
