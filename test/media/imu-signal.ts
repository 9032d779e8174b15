// One motion, known at every time, and files that hold it as data sets and apps write them.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import * as assert from "uvu/assert";
import { type ImuOptions, type ImuSource, imu, loadImuAt } from "../../lib/media/imu.js";

export const G = 9.80665;
export const DEGREES = 180 / Math.PI;
export const RATE = 100;
export const ROWS = 301;
export const AXES = [..."xyz"];
export const PLAIN = "ax,ay,az,gx,gy,gz";

/** m/s² and rad/s: a head that nods, with gravity on y. */
export const motion = (t: number): number[] => [
  1.5 * Math.sin(2 * Math.PI * 1.3 * t),
  G + 0.7 * Math.cos(2 * Math.PI * 0.9 * t),
  -0.4 + 0.3 * Math.sin(2 * Math.PI * 2.1 * t),
  0.8 * Math.sin(2 * Math.PI * 0.7 * t),
  -0.5 * Math.cos(2 * Math.PI * 1.1 * t),
  0.2 + 0.1 * Math.sin(2 * Math.PI * 1.7 * t),
];

export interface Written {
  acceleration?: number;
  gyroscope?: number;
}
/** The channels at sample i of 100 a second, times the factors. */
export const at = (i: number, { acceleration = 1, gyroscope = 1 }: Written = {}): number[] =>
  motion(i / RATE).map((v, c) => v * (c < 3 ? acceleration : gyroscope));

/** A table: the line of names, then a row for each sample. */
export const table = (names: string, row: (i: number) => unknown[], separator = ",", rows = ROWS): string =>
  [names, ...Array.from({ length: rows }, (_, i) => row(i).join(separator))].filter((line) => line !== "").join("\n");

/** Without gravity, which stands on y. */
export const linear = (i: number): number[] => at(i).map((v, c) => (c === 1 ? v - G : v));

export class Recordings {
  readonly path = mkdtempSync(join(tmpdir(), "anymal-imu-"));
  #count = 0;

  /** A folder with these files; its path. */
  folder(files: Readonly<Record<string, string | Uint8Array>>): string {
    const folder = join(this.path, String(this.#count++));
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    return folder;
  }
  file(content: string | Uint8Array, name = "recording.csv"): string {
    return join(this.folder({ [name]: content }), name);
  }
  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}

/** Loads it at 100 Hz and tells what was said. */
export async function heard(source: ImuSource, options: ImuOptions = {}): Promise<{ samples: Float32Array; said: string[] }> {
  const said: string[] = [];
  const { samples } = await loadImuAt(imu(source, { ...options, onNotice: (message) => said.push(message) }), RATE);
  return { samples, said };
}

/** It is the motion from sample `from` on, and exactly these notices were given. */
export async function isMotion(
  source: ImuSource,
  options: ImuOptions = {},
  notices: readonly RegExp[] = [],
  from = 0,
  tolerance = 1e-4,
): Promise<void> {
  const { samples, said } = await heard(source, options);
  const n = samples.length / 6;
  assert.ok(n > 250 && n + from <= ROWS, `${n} samples`);
  for (let i = 0; i < n; ++i)
    for (const [c, v] of at(i + from).entries())
      assert.ok(Math.abs(samples[c * n + i]! - v) < tolerance, `channel ${c} of sample ${i}: ${samples[c * n + i]} for ${v}`);
  assert.is(said.length, notices.length, said.join("\n"));
  for (const [i, notice] of notices.entries()) assert.match(said[i]!, notice);
}
