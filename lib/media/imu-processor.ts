// Motion recordings as IMU2CLIP takes them: one rate, one length.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { shown } from "../core/checks.js";
import { checkParts } from "./check-parts.js";
import { MediaError } from "./error.js";
import { fewAtOnce } from "./few.js";
import { type ImuPart, type ImuRecording, loadImuAt } from "./imu.js";
import type { MediaProcessor } from "./part.js";
import { preprocessorConfig, readJsonFile } from "./preprocessor-config.js";
import { checkLoading, type Loading } from "./source.js";

export interface ImuValues {
  /** (N, 6, L): accelerometer x, y, z in m/s², gyroscope x, y, z in rad/s. */
  data: Float32Array;
  shape: [number, number, number];
}

const AT_ONCE = 2;
/** What a configuration may ask for: a hundred times what any model does. */
const MOST = { rate: 100_000, samples: 2 ** 20 };

/** Recordings in, (N,6,L) at one rate and of one length out: accelerometer, then gyroscope. */
export class ImuProcessor implements MediaProcessor<ImuPart> {
  /** Hz */
  readonly samplingRate: number;
  /** Samples of one recording: a longer one is cut, a shorter one gets zeros at its end. */
  readonly windowSamples: number;

  constructor(config: Readonly<Record<string, unknown>> = {}, where = "preprocessor_config.json") {
    const type = config.feature_extractor_type ?? "ImuProcessor";
    if (type !== "ImuProcessor")
      throw new MediaError("E_MEDIA_OPTION", where, "feature_extractor_type ImuProcessor", shown(type), "use an IMU2CLIP encoder");
    this.samplingRate = positive(config.sampling_rate, 200, where, "sampling_rate", MOST.rate);
    this.windowSamples = positive(config.window_samples, 1000, where, "window_samples", MOST.samples);
    if (!Number.isInteger(this.windowSamples))
      throw new MediaError("E_MEDIA_OPTION", where, "a whole number in window_samples", `${this.windowSamples}`, "1000 is IMU2CLIP's");
  }

  /** Reads preprocessor_config.json of a model folder; without one, the sampling_rate and window_samples of config.json. */
  static fromPretrained(folder: string): ImuProcessor {
    const own = join(folder, "preprocessor_config.json");
    const config = join(folder, "config.json");
    return existsSync(own) || !existsSync(config)
      ? new ImuProcessor(preprocessorConfig(folder).config, own)
      : new ImuProcessor(readJsonFile(config), config);
  }

  async process(parts: readonly ImuPart[], loading: Loading = {}): Promise<ImuValues> {
    checkLoading("ImuProcessor.process", loading);
    checkParts("ImuProcessor", "imu", parts);
    const made = await fewAtOnce(parts, AT_ONCE, async (part, i) =>
      this.#one(await loadImuAt(part, this.samplingRate, loading, this.windowSamples), i),
    );
    return this.#joined(made);
  }

  /** Recordings at the processor's rate. */
  imuValues(recordings: readonly ImuRecording[]): ImuValues {
    return this.#joined(recordings.map((recording, i) => this.#one(recording, i)));
  }

  /** (6, L) */
  #one({ samples, sampleRate }: ImuRecording, i: number): Float32Array {
    if (sampleRate !== this.samplingRate)
      throw new MediaError("E_MEDIA_OPTION", `recording ${i}`, `${this.samplingRate} Hz`, `${sampleRate} Hz`, "load it with loadImuAt()");
    const [count, length] = [samples.length / 6, this.windowSamples];
    const values = new Float32Array(6 * length);
    for (let c = 0; c < 6; ++c) values.set(samples.subarray(c * count, c * count + Math.min(count, length)), c * length);
    return values;
  }

  #joined(made: readonly Float32Array[]): ImuValues {
    const size = 6 * this.windowSamples;
    const data = new Float32Array(made.length * size);
    for (const [i, values] of made.entries()) data.set(values, i * size);
    return { data, shape: [made.length, 6, this.windowSamples] };
  }

  configJson(): Record<string, unknown> {
    return { feature_extractor_type: "ImuProcessor", sampling_rate: this.samplingRate, window_samples: this.windowSamples };
  }
}

function positive(value: unknown, fallback: number, where: string, key: string, most: number): number {
  if (value === undefined) return fallback;
  if (typeof value === "number" && value > 0 && value <= most) return value;
  throw new MediaError("E_MEDIA_OPTION", where, `${key} above 0, at most ${most}`, shown(value), "see the model's card");
}
