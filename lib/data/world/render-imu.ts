// What a sensor on the head of somebody moving records: x to the front, y to the left, z up. Angles come first, so that what the gyroscope
// reads and how gravity tilts into the accelerometer agree.
import type { ImuRecording } from "../../media/imu.js";
import type { Draw } from "../draw.js";
import { type ImuScene, TIMES } from "./scenes.js";

export const RATE = 100;
const SECONDS = 5;
const GRAVITY = 9.81;
const TURN = 2 * Math.PI;

/** Accelerations in m/s² without gravity, and angles of the head in radians, at a place of the cycle (0 ≤ phase, one per cycle). */
interface Motion {
  forward: number;
  sideways: number;
  upward: number;
  roll: number;
  pitch: number;
  yaw: number;
}
interface Activity {
  /** Cycles a second when done steadily. */
  hertz: number;
  /** Writes into `motion`, which is zero before. */
  move(motion: Motion, phase: number): void;
}
const sin = (cycles: number): number => Math.sin(TURN * cycles);
/** Half a sine between two places of the cycle, else nothing. */
const push = (phase: number, from: number, to: number): number => {
  const at = (phase - Math.floor(phase) - from) / (to - from);
  return at > 0 && at < 1 ? Math.sin(Math.PI * at) : 0;
};

const ACTIVITY: Record<ImuScene["activity"], Activity> = {
  // A bounce a step; the weight goes from one foot to the other.
  walking: {
    hertz: 1.8,
    move(m, phase) {
      m.upward = 2.4 * sin(phase) + 0.8 * sin(2 * phase + 0.15);
      m.forward = 0.9 * sin(phase + 0.3);
      m.sideways = 1.3 * sin(phase / 2 + 0.1);
      m.roll = 0.035 * sin(phase / 2);
    },
  },
  // Between the steps both feet are off the ground and nothing is felt.
  running: {
    hertz: 2.1,
    move(m, phase) {
      const stance = push(phase, 0, 0.55);
      m.upward = 2.86 * GRAVITY * stance - GRAVITY;
      m.forward = 4 * (push(phase, 0.27, 0.55) - push(phase, 0, 0.27));
      m.sideways = 2.2 * sin(phase / 2);
      m.roll = 0.04 * sin(phase / 2 + 0.2);
      m.pitch = 0.03 * sin(phase);
    },
  },
  // Push off, fly, land hard, stand.
  jumping: {
    hertz: 1.7,
    move(m, phase) {
      m.upward = 9 * push(phase, 0, 0.3) - GRAVITY * (push(phase, 0.28, 0.72) > 0 ? 1 : 0) + 24 * push(phase, 0.7, 0.86);
      m.forward = 1.2 * push(phase, 0.7, 0.86);
    },
  },
  // Down and up again, leaning forward on the way.
  squatting: {
    hertz: 1.5,
    move(m, phase) {
      m.upward = 3.4 * sin(phase + 0.25);
      m.pitch = 0.03 * sin(phase);
    },
  },
  nodding: {
    hertz: 1.8,
    move(m, phase) {
      m.pitch = 0.2 * sin(phase);
      m.upward = 0.3 * sin(2 * phase);
    },
  },
  shaking: {
    hertz: 1.9,
    move(m, phase) {
      m.yaw = 0.22 * sin(phase);
      m.sideways = 1 * sin(phase + 0.5);
    },
  },
  // Two pushes a turn of the pedals, and the bicycle leans from side to side.
  cycling: {
    hertz: 1.6,
    move(m, phase) {
      m.forward = 1.4 * sin(2 * phase);
      m.roll = 0.13 * sin(phase + 0.1);
      m.upward = 0.5 * sin(4 * phase);
    },
  },
  // A hard stroke and a slow return; the back swings along.
  rowing: {
    hertz: 1.5,
    move(m, phase) {
      m.forward = 7 * push(phase, 0, 0.4) - 4.7 * push(phase, 0.4, 1);
      m.pitch = 0.03 * sin(phase + 0.5);
      m.upward = 1.1 * sin(phase + 0.75);
    },
  },
};
const PACE: Record<ImuScene["speed"], number> = { slowly: 0.65, steadily: 1, quickly: 1.5 };
/** Seconds that a bout takes, by how many there are. */
const BOUT: readonly (readonly [number, number])[] = [
  [1.6, 3],
  [1.15, 1.5],
  [0.85, 1.05],
];
const EDGE = 0.12;

/** How much of the movement there is at every sample: 0 in the rests, 1 within a bout; and the phase there. */
function bouts({ times, speed, activity }: ImuScene, draw: Draw): { gain: Float32Array; phase: Float32Array } {
  const [gain, phase] = [new Float32Array(RATE * SECONDS), new Float32Array(RATE * SECONDS)];
  const count = TIMES.indexOf(times) + 1;
  const hertz = ACTIVITY[activity].hertz * PACE[speed] * draw.between(0.94, 1.06);
  const lasting = Array.from({ length: count }, () => draw.between(...BOUT[count - 1]!));
  // What is left of the time is shared among the rests before, between and after; those between get at least half a second each.
  const spare = SECONDS - lasting.reduce((sum, s) => sum + s, 0) - 0.5 * (count - 1) - 0.2;
  const shares = Array.from({ length: count + 1 }, () => draw.between(0.3, 1));
  const whole = shares.reduce((sum, s) => sum + s, 0);
  let at = 0.1;
  for (const [i, seconds] of lasting.entries()) {
    at += (spare * shares[i]!) / whole + (i > 0 ? 0.5 : 0);
    const first = draw.pick([0, 1]); // Either foot may be first.
    for (let t = Math.ceil(at * RATE); t < (at + seconds) * RATE; ++t) {
      const since = t / RATE - at;
      const edge = Math.min(1, since / EDGE, (seconds - since) / EDGE);
      gain[t] = edge * edge * (3 - 2 * edge);
      phase[t] = first + since * hertz;
    }
    at += seconds;
  }
  return { gain, phase };
}

/** Between two positive numbers, each factor as likely as the next. */
const factor = (low: number, high: number, draw: Draw): number => low * (high / low) ** draw.uniform();

/**
 * The slow turn of the whole body, in rad/s: to the left is positive. Nobody turns evenly, or stands quite still: the rate swells and wanders, so that it takes every value
 * between those of the turns. Rate and the movement's strength vary freely against each other: an encoder that normalises all axes of a sensor
 * together must not learn the one from the other.
 */
function turning(turn: ImuScene["turn"], draw: Draw): (seconds: number) => number {
  const rate = factor(0.7, 1.8, draw);
  const middle = SECONDS / 2 + draw.between(-0.3, 0.3);
  const swell = wave(draw, 0, 0.3);
  const wander = wave(draw, 0.2, 0.6);
  const side = { left: () => 1, right: () => -1, nowhere: () => 0, "both ways": (s: number) => Math.tanh((middle - s) / 0.2) }[turn];
  return (s) => rate * side(s) * (1 + swell(s)) + wander(s);
}

/** A slow swing about zero, of an amplitude from `least` to `most`. */
function wave(draw: Draw, least: number, most: number): (seconds: number) => number {
  const [amplitude, hertz, phase] = [draw.between(least, most), draw.between(0.25, 0.5), draw.uniform()];
  return (s) => amplitude * sin(hertz * s + phase);
}

/** Five seconds at 100 Hz, in m/s² and rad/s; strength, phases, rests, tilt, bias and noise vary with the draws. */
export function renderImu(scene: ImuScene, draw: Draw): ImuRecording {
  const n = RATE * SECONDS;
  const samples = new Float32Array(6 * n);
  const { gain, phase } = bouts(scene, draw);
  const { move } = ACTIVITY[scene.activity];
  const turn = turning(scene.turn, draw);
  const strength = factor(0.65, 1.6, draw);
  const [tiltX, tiltY] = [draw.between(-0.05, 0.05), draw.between(-0.05, 0.05)];
  const bias = Array.from({ length: 6 }, (_, i) => draw.between(-1, 1) * (i < 3 ? 0.08 : 0.02));
  const noise = [0, 0, 0, 1, 1, 1].map((gyro) => (gyro ? draw.between(0.015, 0.04) : draw.between(0.08, 0.2)));
  const still: Motion = { forward: 0, sideways: 0, upward: 0, roll: 0, pitch: 0, yaw: 0 };
  const motion = { ...still };
  let [roll, pitch, yaw] = [0, 0, 0];
  for (let t = 0; t < n; ++t) {
    Object.assign(motion, still);
    const g = gain[t]! * strength;
    if (g > 0) move(motion, phase[t]!);
    const [rolled, pitched, yawed] = [g * motion.roll, g * motion.pitch, g * motion.yaw];
    const free = Math.max(g * motion.upward, -GRAVITY);
    // Nose down is a positive pitch: gravity then pulls towards the front, and the sensor feels the opposite.
    const felt = [
      g * motion.forward - GRAVITY * Math.sin(pitched + tiltX),
      g * motion.sideways + GRAVITY * Math.sin(rolled + tiltY),
      free + GRAVITY * Math.cos(rolled + tiltY) * Math.cos(pitched + tiltX),
      (rolled - roll) * RATE,
      (pitched - pitch) * RATE,
      (yawed - yaw) * RATE + turn(t / RATE),
    ];
    for (let c = 0; c < 6; ++c) samples[c * n + t] = felt[c]! + bias[c]! + noise[c]! * rough(draw);
    [roll, pitch, yaw] = [rolled, pitched, yawed];
  }
  return { samples, sampleRate: RATE };
}

/** Nearly normal, of standard deviation 1. */
const rough = (draw: Draw): number => 2.45 * (draw.uniform() + draw.uniform() - 1);
