// Sounds as CLAP's input, as its preprocessor_config.json says: the log-mel spectrograms of transformers' ClapFeatureExtractor.
import { shown } from "../core/checks.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
import { type AudioPart, loadAudio, resampled, type Sound } from "./audio.js";
import { checkParts } from "./check-parts.js";
import { configReader, failed } from "./config-reader.js";
import { fewAtOnce } from "./few.js";
import type { EncoderInput, MediaProcessor } from "./part.js";
import { preprocessorConfig } from "./preprocessor-config.js";
import { checkLoading, type Loading } from "./source.js";

export interface AudioProcessorOptions {
  /** Where clips longer than the window are cut: "middle" (default), the same every time, or anywhere by a seed and the number of the call. */
  crops?: "middle" | { seed: number };
  /** As transformers with fusion: when no clip of a batch is longer than the window, one is marked as if it were. Default false. */
  markOneLonger?: boolean;
}

const OPTIONS = optionNames<AudioProcessorOptions>({ crops: true, markOneLonger: true });

/** None for a clip that fits; the first sample with rand_trunc; the first frames of the three crops with fusion. */
export type Crop = readonly number[];

export interface AudioFeatures extends EncoderInput {
  /** (N,4,T,bins) decibels with fusion: the whole shrunk to T frames, then the crops (four times the same for a clip that fits); else (N,1,T,bins). */
  data: Float32Array;
  shape: [number, number, number, number];
  isLonger: boolean[];
  /** What was drawn: given back to features() it makes the same input. */
  crops: Crop[];
}

const TRUNCATIONS = ["fusion", "rand_trunc"] as const;
const PADDINGS = ["repeatpad", "repeat", "pad"] as const;
const [HTK, SLANEY] = [0, 1];
/** What a configuration may ask for: a hundred times what any model does. Samples are of the window, and values of its spectrogram. */
const MOST = { rate: 768_000, bins: 1024, fft: 2 ** 16, samples: 2 ** 24 };

const HINT = "see the model's repository";

/** An integer from 0 to below n. */
type Draw = (n: number) => number;

/** Sounds in, CLAP's log-mel spectrograms (N,1 or 4,T,bins) in decibels out, by preprocessor_config.json's numbers. */
export class AudioProcessor implements MediaProcessor<AudioPart> {
  readonly sampleRate: number;
  /** Length of the window. */
  readonly samples: number;
  /** T: its spectrogram's frames. */
  readonly frames: number;
  readonly bins: number;
  readonly truncation: (typeof TRUNCATIONS)[number];
  readonly padding: (typeof PADDINGS)[number];
  readonly #fft: number;
  readonly #hop: number;
  readonly #band: readonly [number, number];
  readonly #options: AudioProcessorOptions;
  #calls = 0;

  constructor(config: Readonly<Record<string, unknown>> = {}, where = "preprocessor_config.json", options: AudioProcessorOptions = {}) {
    checkOptions("AudioProcessor", options, OPTIONS);
    const read = configReader(config, where);
    const type = config.feature_extractor_type ?? "ClapFeatureExtractor";
    if (type !== "ClapFeatureExtractor") failed(where, "feature_extractor_type ClapFeatureExtractor", shown(type), "use a CLAP encoder");
    this.sampleRate = read.count("sampling_rate", 48000, MOST.rate);
    this.bins = read.count("feature_size", 64, MOST.bins);
    this.#fft = read.count("fft_window_size", 1024, MOST.fft);
    this.#hop = read.count("hop_length", 480, MOST.samples);
    this.#band = [read.number("frequency_min", 0), read.number("frequency_max", 14000)];
    if (!(this.#band[0] >= 0 && this.#band[0] < this.#band[1]))
      failed(where, "0 ≤ frequency_min < frequency_max", this.#band.join(" and "), "see the model's repository");
    if (this.#hop < this.#fft / 16) failed(where, "hop_length of at least a sixteenth of fft_window_size", `${this.#hop}`, HINT);
    this.samples = Math.round(read.number("max_length_s", 10) * this.sampleRate);
    if (this.samples < 1) failed(where, "max_length_s of at least one sample", shown(config.max_length_s), "the window is in seconds");
    if (this.samples > MOST.samples)
      failed(where, `max_length_s of at most ${MOST.samples} samples`, shown(config.max_length_s), "CLAP's window is 10 s");
    this.truncation = read.oneOf("truncation", TRUNCATIONS, "fusion");
    this.padding = read.oneOf("padding", PADDINGS, "repeatpad");
    this.frames = this.#framesOf(this.samples);
    if (!(this.frames >= 1 && this.frames * Math.max(this.bins, this.#fft / 16) <= MOST.samples))
      failed(where, `a spectrogram of at least a frame and at most ${MOST.samples} values`, `${this.frames} frames of ${this.bins}`, HINT);
    this.#options = options;
  }

  /** Reads preprocessor_config.json of a model folder. */
  static fromPretrained(folder: string, options?: AudioProcessorOptions): AudioProcessor {
    const { config, where } = preprocessorConfig(folder);
    return new AudioProcessor(config, where, options);
  }

  async process(parts: readonly AudioPart[], loading: Loading = {}): Promise<AudioFeatures> {
    checkLoading("AudioProcessor.process", loading);
    if (parts.length) checkParts("AudioProcessor", "audio", parts);
    const draw = this.#draw(); // before anything is awaited: the order of the calls decides, not that of the disk
    return this.#features(parts, (part) => loadAudio(part, loading), draw);
  }

  /** The same from samples; `crops` of an earlier result are taken instead of drawn. */
  async features(sounds: readonly Sound[], options: { crops?: readonly Crop[] } = {}): Promise<AudioFeatures> {
    checkOptions("AudioProcessor.features", options, ["crops"]);
    const { crops } = options;
    return this.#features(sounds, async (sound) => sound, this.#draw(), crops);
  }

  async #features<T>(items: readonly T[], load: (item: T) => Promise<Sound>, draw: Draw, given?: readonly Crop[]): Promise<AudioFeatures> {
    if (!items.length) failed("AudioProcessor", "at least one sound", "none", "pass audio(…)");
    const crops: Crop[] = [];
    // A sound is loaded, cut and dropped before the next is: at its own rate it may take half a gigabyte. Its spectrogram is made meanwhile.
    let before: Promise<unknown> = Promise.resolve();
    const made = await fewAtOnce(items, 2, (item, i) => {
      const cut = before.then(async () => {
        const { samples } = await resampled(await load(item), this.sampleRate);
        const crop = this.#checked(given?.[i], samples.length, i) ?? this.#crop(samples.length, draw);
        crops[i] = crop;
        return this.#heard(samples, crop);
      });
      before = cut.catch(() => {});
      return cut.then((samples) => this.#spectrogram(samples, crops[i]!));
    });
    const isLonger = crops.map(({ length }) => length > 0);
    const [channels, size] = [this.truncation === "fusion" ? 4 : 1, this.frames * this.bins];
    const data = new Float32Array(made.length * channels * size);
    for (const [n, mel] of made.entries())
      for (let c = 0; c < channels; ++c)
        data.set(mel.length > size ? mel.subarray(c * size, (c + 1) * size) : mel, (n * channels + c) * size);
    if (this.#options.markOneLonger && this.truncation === "fusion" && !isLonger.includes(true)) isLonger[draw(isLonger.length)] = true;
    return { data, shape: [made.length, channels, this.frames, this.bins], isLonger, crops };
  }

  /** Where a clip is cut. With fusion the starts that there are fall into thirds, and each gives one. */
  #crop(length: number, draw: Draw): Crop {
    if (length <= this.samples) return [];
    if (this.truncation === "rand_trunc") return [draw(length - this.samples + 1)];
    const starts = this.#framesOf(length) - this.frames + 1;
    if (starts === 1) return []; // longer by less than a hop: the same frames
    const thirds = [0, 1, 2].map((i) => Math.floor(starts / 3) + (i < starts % 3 ? 1 : 0));
    let first = 0;
    return thirds.map((count) => {
      const start = count ? first + draw(count) : 0; // two starts make no third third: its crop is the first
      first += count;
      return start;
    });
  }

  #checked(crop: Crop | undefined, length: number, i: number): Crop | undefined {
    if (!crop) return undefined;
    const rand = this.truncation === "rand_trunc";
    const most = rand ? length - this.samples : this.#framesOf(length) - this.frames;
    const count = length <= this.samples || (!rand && most === 0) ? 0 : rand ? 1 : 3;
    if (crop.length === count && crop.every((start) => Number.isInteger(start) && start >= 0 && start <= most)) return crop;
    return failed(`crops of sound ${i}`, `${count} starts up to ${most}`, `[${crop}]`, "give back what this processor returned for it");
  }

  /** What of a clip its spectrogram is made of. */
  #heard(clip: Float32Array, crop: Crop): Float32Array {
    // A clip longer than the window by less than a hop keeps its samples: its last frame sees them.
    if (this.truncation === "fusion" && clip.length > this.samples) return clip;
    const start = crop[0] ?? 0;
    return crop.length ? clip.slice(start, start + this.samples) : this.#padded(clip);
  }

  async #spectrogram(samples: Float32Array, crop: Crop): Promise<Float32Array> {
    const fused = this.truncation === "fusion";
    const mel = await native().media_log_mel(
      samples,
      this.sampleRate,
      this.#fft,
      this.#hop,
      this.bins,
      ...this.#band,
      fused ? HTK : SLANEY,
      this.frames,
      fused ? crop : [],
    );
    return new Float32Array(mel);
  }

  /** A short clip, once or again and again, and silence up to the window. */
  #padded(clip: Float32Array): Float32Array {
    if (clip.length === this.samples) return clip;
    const padded = new Float32Array(this.samples);
    const times = this.padding === "pad" ? 1 : Math.floor(this.samples / clip.length) + (this.padding === "repeat" ? 1 : 0);
    for (let i = 0, at = 0; i < times; ++i, at += clip.length) padded.set(clip.subarray(0, this.samples - at), at);
    return padded;
  }

  #framesOf(samples: number): number {
    return 1 + Math.floor((samples + 2 * (this.#fft >> 1) - this.#fft) / this.#hop);
  }

  #draw(): Draw {
    const { crops = "middle" } = this.#options;
    if (crops === "middle") return (n) => (n - 1) >> 1;
    let state = (Math.imul(crops.seed, 0x9e3779b1) ^ Math.imul(++this.#calls, 0x85ebca77)) >>> 0;
    return (n) => {
      state = (state + 0x9e3779b9) >>> 0;
      let z = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
      return Math.floor((((z ^ (z >>> 15)) >>> 0) / 2 ** 32) * n);
    };
  }

  /** preprocessor_config.json, as transformers writes it. */
  configJson(): Record<string, unknown> {
    return {
      feature_extractor_type: "ClapFeatureExtractor",
      feature_size: this.bins,
      fft_window_size: this.#fft,
      frequency_max: this.#band[1],
      frequency_min: this.#band[0],
      hop_length: this.#hop,
      max_length_s: this.samples / this.sampleRate,
      nb_frequency_bins: (this.#fft >> 1) + 1,
      nb_max_samples: this.samples,
      padding: this.padding,
      padding_side: "right",
      padding_value: 0,
      return_attention_mask: false,
      sampling_rate: this.sampleRate,
      top_db: null,
      truncation: this.truncation,
    };
  }
}
