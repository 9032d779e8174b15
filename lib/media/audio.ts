// Sounds: a part of a prompt, and its samples.
import { native } from "../core/native.js";
import { kindOfValue, own } from "../core/realm.js";
import { collected } from "./collect.js";
import { checkSamples, declaredSeconds, decodePieces, openSound } from "./compressed-audio.js";
import { MediaError, readingOf } from "./error.js";
import { type AsData, checkKnown, LIMITS, WINDOW } from "./option-checks.js";
import { bytesOf, checkBytes, checkLoading, describe, type Loading, type MediaSource, openSource, type RandomAccess } from "./source.js";
import { isWav, readWavLayout, type WavLayout } from "./wav.js";
import { checkLength, checkWindow } from "./window.js";

export interface AudioOptions {
  /** Where to begin, in seconds. Default 0. */
  start?: number;
  /** How much to take, in seconds; less where the sound ends before. Default: to the end. */
  seconds?: number;
  /** Refused when what is taken is longer. Default 600. */
  maxSeconds?: number;
  /** Refused when more bytes have to be read: of a WAV what is taken, else the file. Default 256 MiB. */
  maxBytes?: number;
  /** Refused when more samples of a compressed sound are taken, the mean of its channels counted. Default 2^27: 600 s at 192 kHz, 512 MiB. */
  maxSamples?: number;
}
const { maxSeconds, maxBytes, maxSamples } = LIMITS;
export const AUDIO_OPTIONS = { ...WINDOW, maxSeconds, maxBytes, maxSamples } satisfies AsData<AudioOptions>;

export interface AudioPart {
  readonly modality: "audio";
  readonly source: MediaSource | Sound;
  readonly options: AudioOptions;
}

/** One channel, from -1 to 1. */
export interface Sound {
  readonly samples: Float32Array;
  readonly sampleRate: number;
}

/** An hour and a half at 48 kHz. */
const MOST_RESAMPLED = 2 ** 28;
/** Of a file that can only be decoded whole, a part may be taken when it is at most this long. */
const WHOLE = 3600;
export const AUDIO_LIMITS = { maxSeconds: 600, maxBytes: 256 << 20, maxSamples: 1 << 27 };

/**
 * A sound for a prompt: a WAV, FLAC, MP3, OGG, Opus or M4A, or the sound of an MP4 or WebM (path, file: or data: URL, bytes), or samples.
 * Nothing is read yet.
 */
export function audio(source: MediaSource | Sound, options: AudioOptions = {}): AudioPart {
  checkKnown("audio", AUDIO_OPTIONS, options);
  return { modality: "audio", source, options };
}

/** The samples of a sound at the rate it was recorded with: the mean of its channels. Of a file that was cut, what is there. */
export async function loadAudio(part: AudioPart, loading: Loading = {}): Promise<Sound> {
  checkLoading("loadAudio", loading);
  return readingOf(describe(part.source), loading.signal, () => soundIn(part, loading));
}

async function soundIn({ source, options }: AudioPart, loading: Loading): Promise<Sound> {
  loading.signal?.throwIfAborted();
  checkKnown(describe(source), AUDIO_OPTIONS, options);
  checkWindow(describe(source), options);
  if (isSound(source)) return windowOf(source, options);
  const { maxBytes } = { ...AUDIO_LIMITS, ...options };
  const file = await openSource(source, maxBytes);
  try {
    const head = new Uint8Array(12);
    await file.read(head, 0);
    const layout = isWav(head) ? await readWavLayout(file, describe(source)) : undefined;
    if (layout) return await readSamples(file, layout, describe(source), options, loading);
  } finally {
    await file.close();
  }
  return decoded(await bytesOf(source, maxBytes, loading), describe(source), options, loading);
}

async function decoded(bytes: Uint8Array, what: string, options: AudioOptions, loading: Loading): Promise<Sound> {
  const { maxSeconds, maxSamples } = { ...AUDIO_LIMITS, ...options };
  const declared = declaredSeconds(bytes);
  if (declared !== undefined) checkLength(what, declared, options.seconds === undefined ? maxSeconds : Math.max(maxSeconds, WHOLE));
  const sound = openSound(bytes, what);
  if (sound.declared) {
    const taken = Math.min(options.seconds ?? Infinity, sound.declared.frames / sound.declared.sampleRate - (options.start ?? 0));
    checkLength(what, taken, maxSeconds);
    checkSamples(what, Math.floor(taken * sound.declared.sampleRate), maxSamples, "of what is taken");
  }
  const pieces = decodePieces(sound, what, loading);
  const { samples, sampleRate, frames } = await collected(pieces, what, { ...options, maxSeconds, maxSamples });
  if (!samples.length) framesTaken(what, frames, sampleRate, options);
  return { samples, sampleRate };
}

/** The sound at another rate, through a polyphase filter; what lies above the lower of the two Nyquist rates is removed. */
export async function resampled(sound: Sound, sampleRate: number): Promise<Sound> {
  const { samples, sampleRate: from } = checkSound(sound);
  if (from === sampleRate) return sound;
  const made = (samples.length * sampleRate) / from;
  if (made > MOST_RESAMPLED)
    throw new MediaError("E_MEDIA_LIMIT", "samples", `at most ${MOST_RESAMPLED} samples at ${sampleRate} Hz`, `${Math.ceil(made)}`, "take a part with the options start and seconds"); // biome-ignore format: one line
  return { samples: new Float32Array(await native().media_resample(samples, from, sampleRate)), sampleRate };
}

const isSound = (source: unknown): source is Sound => typeof source === "object" && source !== null && "samples" in source;

/** As it was given, its array one of this realm. */
export function checkSound({ samples: given, sampleRate }: Sound): Sound {
  const samples = own(given, "Float32Array");
  if (samples?.length && Number.isInteger(sampleRate) && sampleRate > 0) return { samples, sampleRate };
  throw new MediaError(
    "E_MEDIA_FORMAT",
    "samples",
    "a Float32Array with at least one sample, and a whole sampleRate",
    `${kindOfValue(given)} at ${sampleRate} Hz`,
    "pass one channel from -1 to 1",
  );
}

function windowOf(sound: Sound, options: AudioOptions): Sound {
  const { samples, sampleRate } = checkSound(sound);
  const { from, count } = framesTaken("samples", samples.length, sampleRate, options);
  return finite("samples", { samples: samples.slice(from, from + count), sampleRate });
}

/** Which samples the options take of `frames`. */
function framesTaken(what: string, frames: number, rate: number, options: AudioOptions): { from: number; count: number } {
  if (frames === 0)
    throw new MediaError("E_MEDIA_FORMAT", what, "at least one sample", "a header without sound", "record it again, or leave it out");
  const from = Math.round((options.start ?? 0) * rate);
  if (from >= frames)
    throw new MediaError("E_MEDIA_OPTION", what, "start inside the sound", `${options.start} s of ${frames / rate} s`, "begin earlier");
  const wanted = options.seconds === undefined ? frames : Math.max(1, Math.round(options.seconds * rate));
  const count = Math.min(wanted, frames - from);
  checkLength(what, count / rate, options.maxSeconds ?? AUDIO_LIMITS.maxSeconds);
  return { from, count };
}

const STEP = 16 << 20;
async function readSamples(file: RandomAccess, wav: WavLayout, what: string, options: AudioOptions, { signal }: Loading): Promise<Sound> {
  const { from, count } = framesTaken(what, wav.frames, wav.sampleRate, options);
  const size = count * wav.frameBytes;
  checkBytes(what, size, options.maxBytes ?? AUDIO_LIMITS.maxBytes);
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted();
    const n = await file.read(bytes.subarray(at, at + STEP), wav.dataAt + from * wav.frameBytes + at);
    if (n === 0) throw new MediaError("E_MEDIA_SOURCE", what, `${size} bytes`, `${at}`, "the file was cut while it was read: try again");
    at += n;
  }
  const samples = new Float32Array(await native().media_pcm(bytes, wav.encoding, wav.channels));
  const sound = { samples, sampleRate: wav.sampleRate };
  return wav.isFloat ? finite(what, sound) : sound;
}

function finite(what: string, sound: Sound): Sound {
  const at = sound.samples.findIndex((v) => !Number.isFinite(v));
  if (at >= 0)
    throw new MediaError("E_MEDIA_FORMAT", what, "finite samples", `${sound.samples[at]} at sample ${at}`, "make the file again");
  return sound;
}
