// A melody as two seconds of samples. Every instrument holds its notes: a tail that rings on would hide the melody.
import type { Sound } from "../../media/audio.js";
import type { Draw } from "../draw.js";
import { type AudioScene, COUNTS } from "./scenes.js";

const RATE = 16000;
const SECONDS = 2;
/** Of the melody's first note. */
export const HERTZ: Record<AudioScene["note"], number> = {
  a2: 110,
  e3: 164.81,
  b3: 246.94,
  f4: 349.23,
  c5: 523.25,
  g5: 783.99,
  d6: 1174.66,
  a6: 1760,
};
/** Semitones from one note to the next; drawn for each melody. */
const STEP = [3, 4] as const;
/** Seconds that a note sounds, however many there are: more notes are more sound, not only a quicker pace. */
const NOTE = [0.17, 0.19] as const;
/** How far off the whole may be tuned, in cents. With steps that vary it brings every instrument to every pitch, whatever note comes first. */
const TUNING = 200;

interface Timbre {
  /** Strength of partial k = 1, 2, … */
  partial(k: number): number;
  /** Seconds of rise; 0.012 where not said. */
  attack?: number;
  /** Part of the frequency by which it swings, and the swings per second. */
  vibrato?: { depth: readonly [number, number]; rate: readonly [number, number] };
  /** How far the level falls, and how often a second. */
  tremolo?: { depth: number; rate: readonly [number, number] };
  /** Noise that sounds with the note, as a part of its level. */
  breath?: number;
}
const listed =
  (...strengths: number[]) =>
  (k: number): number =>
    strengths[k - 1] ?? 0;

const TIMBRES: Record<AudioScene["instrument"], Timbre> = {
  flute: { partial: listed(1, 0.18, 0.06), attack: 0.035, breath: 0.12 },
  clarinet: { partial: (k) => (k % 2 === 1 ? k ** -1.2 : 0), attack: 0.02 },
  trumpet: { partial: (k) => k ** -0.4 },
  violin: { partial: (k) => 1 / k, attack: 0.03, vibrato: { depth: [0.03, 0.04], rate: [5.5, 6.5] } },
  organ: { partial: listed(1, 0.8, 0, 0.65, 0, 0, 0, 0.5), breath: 0.25 },
  horn: { partial: listed(1, 0.55, 0.3, 0.12), attack: 0.07 },
  whistle: { partial: listed(1, 0.25), vibrato: { depth: [0.035, 0.05], rate: [7, 9] } },
  buzzer: { partial: (k) => (k % 2 === 1 ? k ** -0.7 : 0), attack: 0.005, tremolo: { depth: 0.9, rate: [15, 18] } },
};

/** Semitones above the first note. */
function melody({ melody, count }: Pick<AudioScene, "melody" | "count">, step: number): number[] {
  const up = { rising: (i: number) => i, falling: (i: number) => -i, steady: () => 0, wavy: (i: number) => i % 2 }[melody];
  return Array.from({ length: COUNTS.indexOf(count) + 3 }, (_, i) => step * up(i));
}

const PERIOD = 2048;
const SINE = Float64Array.from({ length: PERIOD }, (_, t) => Math.sin((2 * Math.PI * t) / PERIOD));
const periods = new Map<string, Float32Array>();

/** One period of an instrument's wave with root mean square 1, without the partials that would lie above half the sample rate. */
function period(instrument: AudioScene["instrument"], highest: number): Float32Array {
  const { partial } = TIMBRES[instrument];
  const strengths = Array.from({ length: Math.floor((0.49 * RATE) / highest) }, (_, i) => partial(i + 1));
  while (strengths.at(-1) === 0) strengths.pop();
  const key = `${instrument}/${strengths.length}`;
  const known = periods.get(key);
  if (known) return known;
  const wave = new Float32Array(PERIOD);
  const power = Math.sqrt(strengths.reduce((sum, a) => sum + a * a, 0) / 2);
  for (const [i, a] of strengths.entries()) {
    const k = i + 1;
    // Phases that grow with the square keep the peaks low.
    const from = Math.round((0.7 * k * k * PERIOD) / (2 * Math.PI));
    if (a > 0) for (let t = 0; t < PERIOD; ++t) wave[t]! += (a / power) * SINE[(k * t + from) % PERIOD]!;
  }
  periods.set(key, wave);
  return wave;
}

/** Two seconds at 16 kHz; level, tuning, onsets and noise vary with the draws. */
export function renderAudio(scene: AudioScene, draw: Draw): Sound {
  const samples = new Float32Array(RATE * SECONDS);
  const steps = melody(scene, draw.between(...STEP));
  const level = 0.12 * 10 ** (draw.between(-6, 6) / 20);
  const tuning = 2 ** (draw.between(-TUNING, TUNING) / 1200);
  const start = draw.between(0.03, 0.15);
  const pace = ((SECONDS - start - 0.03) / steps.length) * draw.between(0.85, 1);
  const sounding = draw.between(...NOTE);
  for (const [i, step] of steps.entries()) {
    const onset = start + i * pace + draw.between(0, pace - sounding) * 0.2;
    addNote(samples, scene.instrument, HERTZ[scene.note] * tuning * 2 ** (step / 12), onset, sounding, level, draw);
  }
  const hiss = level * 10 ** (draw.between(-50, -38) / 20) * Math.sqrt(3);
  const noise = noiseOf(draw);
  for (let t = 0; t < samples.length; ++t) samples[t] = Math.max(-1, Math.min(1, samples[t]! + hiss * noise()));
  return { samples, sampleRate: RATE };
}

/** Uniform in [-1, 1), root mean square 1/√3; faster than a draw each. */
function noiseOf(draw: Draw): () => number {
  let state = draw.below(2 ** 31) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}

function addNote(
  into: Float32Array,
  instrument: AudioScene["instrument"],
  hertz: number,
  onset: number,
  seconds: number,
  level: number,
  draw: Draw,
): void {
  const { attack = 0.012, vibrato, tremolo, breath = 0 } = TIMBRES[instrument];
  const swing = vibrato ? draw.between(...vibrato.depth) : 0;
  const swings = ((vibrato ? draw.between(...vibrato.rate) : 0) * 2 * Math.PI) / RATE;
  const beats = ((tremolo ? draw.between(...tremolo.rate) : 0) * 2 * Math.PI) / RATE;
  const wave = period(instrument, hertz * (1 + swing));
  const noise = noiseOf(draw);
  const hiss = breath * Math.sqrt(3);
  const from = Math.round(onset * RATE);
  const length = Math.round(seconds * RATE);
  const [rise, fall] = [Math.round(attack * RATE), Math.round(0.02 * RATE)];
  let phase = draw.uniform() * PERIOD;
  let [advance, gain] = [0, 0];
  for (let t = 0; t < length; ++t) {
    // What changes slowly is computed every sixteenth sample.
    if (t % 16 === 0) {
      advance = ((hertz * PERIOD) / RATE) * (1 + swing * Math.sin(swings * t));
      const edge = Math.min(1, t / rise, (length - t) / fall);
      gain = level * edge * edge * (3 - 2 * edge) * (tremolo ? 1 - tremolo.depth * (0.5 - 0.5 * Math.cos(beats * t)) : 1);
    }
    const at = Math.floor(phase);
    const a = wave[at]!;
    const tone = a + (wave[(at + 1) % PERIOD]! - a) * (phase - at);
    into[from + t]! += gain * (hiss > 0 ? tone + hiss * noise() : tone);
    phase += advance;
    if (phase >= PERIOD) phase -= PERIOD;
  }
}
