// Sounds as the encoders of Whisper and Qwen2-Audio take them: the log-mel spectrograms of transformers' WhisperFeatureExtractor, chunk by chunk.
import { shown } from "../core/checks.js";
import { native } from "../core/native.js";
import { Turns } from "../core/turns.js";
import { type AudioPart, loadAudio, resampled, type Sound } from "./audio.js";
import { checkParts } from "./check-parts.js";
import { configReader, failed } from "./config-reader.js";
import { fewAtOnce } from "./few.js";
import type { EncoderInput, MediaProcessor } from "./part.js";
import { preprocessorConfig } from "./preprocessor-config.js";
import { checkLoading, type Loading } from "./source.js";

export interface SpeechFeatures extends EncoderInput {
  /** (chunks of all sounds, bins, frames). */
  shape: [number, number, number];
  /** Of each chunk: the frames before its padding. */
  heard: number[];
  /** Of each sound. */
  chunks: number[];
}

const SLANEY = 1;
/** The highest band ends here, whatever the rate. */
const HIGHEST = 8000;
/** What is quieter than the loudest value by more orders of magnitude is as quiet as this. */
const SPAN = 8;
/** What a configuration may ask for: a hundred times what any model does. Samples are of a chunk, and values of its spectrogram. */
const MOST = { rate: 768_000, bins: 1024, fft: 2 ** 16, samples: 2 ** 24 };
const HINT = "see the model's repository";

/** Sounds in, log-mel spectrograms (chunks,bins,frames) out, by preprocessor_config.json's numbers. A sound longer than a chunk becomes several. */
export class SpeechProcessor implements MediaProcessor<AudioPart> {
  readonly sampleRate: number;
  /** Length of a chunk. */
  readonly samples: number;
  /** … in frames. */
  readonly frames: number;
  readonly bins: number;
  readonly #fft: number;
  readonly #hop: number;
  readonly #paddingValue: number;

  constructor(config: Readonly<Record<string, unknown>> = {}, where = "preprocessor_config.json") {
    const read = configReader(config, where);
    const fail = (expected: string, got: unknown, remedy = HINT) => failed(where, expected, shown(got), remedy);
    const type = config.feature_extractor_type ?? "WhisperFeatureExtractor";
    if (type !== "WhisperFeatureExtractor")
      fail("feature_extractor_type WhisperFeatureExtractor", type, "use an encoder of Whisper or Qwen2-Audio");
    this.sampleRate = read.count("sampling_rate", 16000, MOST.rate);
    this.bins = read.count("feature_size", 80, MOST.bins);
    this.#fft = read.count("n_fft", 400, MOST.fft);
    this.#hop = read.count("hop_length", 160, MOST.samples);
    this.#paddingValue = read.number("padding_value", 0);
    this.samples = Math.round(read.number("chunk_length", 30) * this.sampleRate);
    if (this.#fft < 2) fail("n_fft of at least 2", this.#fft);
    if (this.#hop < this.#fft / 16) fail("hop_length of at least a sixteenth of n_fft", this.#hop);
    if (!(this.samples >= this.#hop && this.samples <= MOST.samples))
      fail(
        `chunk_length of at least a frame and at most ${MOST.samples} samples`,
        config.chunk_length,
        "it is in seconds: Whisper's are 30",
      );
    if (read.number("dither", 0) !== 0)
      fail("dither 0", config.dither, "noise would make other features of the same sound each time: leave the key out");
    if ((config.padding_side ?? "right") !== "right")
      fail('padding_side "right"', config.padding_side, "the encoder hears a chunk from its beginning");
    // One more is made, and left out, as there.
    this.frames = Math.floor((this.samples + 2 * (this.#fft >> 1) - this.#fft) / this.#hop);
    if (!(this.frames >= 1 && this.frames * Math.max(this.bins, this.#fft / 16) <= MOST.samples))
      fail(`a spectrogram of at least a frame and at most ${MOST.samples} values`, `${this.frames} frames of ${this.bins}`);
  }

  /** Reads preprocessor_config.json of a model folder. */
  static fromPretrained(folder: string): SpeechProcessor {
    const { config, where } = preprocessorConfig(folder);
    return new SpeechProcessor(config, where);
  }

  async process(parts: readonly AudioPart[], loading: Loading = {}): Promise<SpeechFeatures> {
    checkLoading("SpeechProcessor.process", loading);
    if (parts.length) checkParts("SpeechProcessor", "audio", parts);
    return this.#features(parts, (part) => loadAudio(part, loading), loading);
  }

  /** The same from samples. */
  async features(sounds: readonly Sound[]): Promise<SpeechFeatures> {
    return this.#features(sounds, async (sound) => sound, {});
  }

  async #features<T>(items: readonly T[], load: (item: T) => Promise<Sound>, { signal }: Loading): Promise<SpeechFeatures> {
    if (!items.length) failed("SpeechProcessor", "at least one sound", "none", "pass audio(…)");
    const heard: number[] = [];
    const chunks: number[] = [];
    const all: Float32Array[] = [];
    const turns = new Turns();
    // A sound is loaded, cut and dropped before the next is: at its own rate it may take half a gigabyte.
    for (const item of items) {
      const { samples } = await resampled(await load(item), this.sampleRate);
      const starts = Array.from({ length: Math.ceil(samples.length / this.samples) }, (_, i) => i * this.samples);
      chunks.push(starts.length);
      for (const start of starts) heard.push(Math.min(this.frames, Math.ceil((samples.length - start) / this.#hop)));
      all.push(
        ...(await fewAtOnce(starts, 2, (start) => {
          signal?.throwIfAborted();
          return this.#spectrogram(samples.subarray(start, start + this.samples), turns);
        })),
      );
    }
    const size = this.bins * this.frames;
    const data = new Float32Array(all.length * size);
    for (const [i, mel] of all.entries()) data.set(mel, i * size);
    return { data, shape: [all.length, this.bins, this.frames], heard, chunks };
  }

  /** (bins, frames) of at most a chunk. */
  async #spectrogram(samples: Float32Array, turns: Turns): Promise<Float32Array> {
    const { bins, frames } = this;
    const padded = new Float32Array(this.samples).fill(this.#paddingValue, samples.length);
    padded.set(samples);
    const decibels = new Float32Array(
      await native().media_log_mel(padded, this.sampleRate, this.#fft, this.#hop, bins, 0, HIGHEST, SLANEY, frames, []),
    );
    await turns.next();
    const mel = new Float32Array(bins * frames);
    let loudest = -Infinity;
    for (let t = 0; t < frames; ++t)
      for (let b = 0; b < bins; ++b) {
        const value = Math.fround((decibels[t * bins + b] as number) / 10);
        mel[b * frames + t] = value;
        if (value > loudest) loudest = value;
      }
    const floor = Math.fround(loudest - SPAN);
    return mel.map((value) => Math.fround(Math.max(value, floor) + 4) / 4);
  }

  /** preprocessor_config.json, as transformers writes it. */
  configJson(): Record<string, unknown> {
    return {
      chunk_length: this.samples / this.sampleRate,
      dither: 0,
      feature_extractor_type: "WhisperFeatureExtractor",
      feature_size: this.bins,
      hop_length: this.#hop,
      n_fft: this.#fft,
      n_samples: this.samples,
      nb_max_frames: Math.floor(this.samples / this.#hop),
      padding_side: "right",
      padding_value: this.#paddingValue,
      return_attention_mask: false,
      sampling_rate: this.sampleRate,
    };
  }
}
