// A golden case: a folder of test/fixtures (or of ANYMAL_FIXTURES) with inputs and the numbers a reference got from them. Tests read sizes,
// names and options from the folder, so that another set of the same cases runs unchanged.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { defaultDevice } from "../lib/core/device.js";
import type { DType, Tensor } from "../lib/core/tensor.js";
import { SafetensorsFile } from "../lib/io/safetensors.js";

const own = fileURLToPath(new URL("./fixtures", import.meta.url));
/** Another set of the same cases, with other sizes, comes before this repository's; what it lacks is taken from here. */
const sets = process.env.ANYMAL_FIXTURES ? [process.env.ANYMAL_FIXTURES, own] : [own];
/** The device that the tests run on: `npm test -- --device NAME`. */
export const here = defaultDevice();

/** Names of the cases that fit, in order. A pattern that fits none is a mistake in the test. */
export function caseNames(pattern: RegExp): string[] {
  for (const set of sets) {
    const names = readdirSync(set).filter((name) => pattern.test(name) && existsSync(join(set, name, "expected.json")));
    if (names.length) return names.sort();
  }
  throw new Error(`no case in ${sets.join(" or ")} fits ${pattern}`);
}

export function caseFolder(name: string): string {
  const set = sets.find((folder) => existsSync(join(folder, name)));
  if (!set) throw new Error(`no case ${name} in ${sets.join(" or ")}`);
  return join(set, name);
}

/** A copy of a folder that a test may write into. What links point to is copied: sets of fixtures may be folders of links into a store. */
export function copyFolder(from: string, to: string, wanted: (path: string) => boolean = () => true): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    const [source, target] = [join(from, name), join(to, name)];
    if (!wanted(source)) continue;
    if (statSync(source).isDirectory()) copyFolder(source, target, wanted);
    else copyFileSync(source, target);
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the shape of expected.json differs from case to case
type Info = any;

export class Case {
  readonly folder: string;
  readonly info: Info;
  #file: SafetensorsFile | undefined;

  constructor(readonly name: string) {
    this.folder = caseFolder(name);
    this.info = JSON.parse(readFileSync(join(this.folder, "expected.json"), "utf8"));
  }

  /** The folder of a case that this one was made with: that of its own set, which may lack cases and has other sizes. */
  beside(name: string): string {
    const folder = join(dirname(this.folder), name);
    return existsSync(folder) ? folder : caseFolder(name);
  }
  /** The folder of the model that an adapter or a training was made with. */
  get base(): string {
    return this.beside(this.info.base);
  }

  /** expected.safetensors; some cases have none. */
  get file(): SafetensorsFile {
    this.#file ??= new SafetensorsFile(join(this.folder, "expected.safetensors"));
    return this.#file;
  }

  json(file = "config.json"): Record<string, unknown> {
    return JSON.parse(readFileSync(join(this.folder, file), "utf8"));
  }
  has(name: string): boolean {
    return this.file.entries.has(name);
  }
  names(prefix: string): string[] {
    return [...this.file.entries.keys()].filter((name) => name.startsWith(prefix)).sort();
  }
  shape(name: string): readonly number[] {
    return this.file.entry(name).shape;
  }
  values(name: string): Float32Array | Int32Array | Uint8Array {
    return this.file.values(name);
  }
  tensor(name: string, { dtype, requiresGrad = false }: { dtype?: DType; requiresGrad?: boolean } = {}): Tensor {
    const tensor = this.file.load(name, here, { dtype });
    tensor.requiresGrad = requiresGrad;
    return tensor;
  }
  /** A matrix of integers as rows. */
  rows(name: string): number[][] {
    const [n, width] = this.shape(name) as [number, number];
    const flat = this.values(name);
    return Array.from({ length: n }, (_, i) => Array.from(flat.subarray(i * width, (i + 1) * width)));
  }
  atol(name: string): number {
    const atol = this.info.tensors?.[name]?.suggested_atol;
    if (typeof atol !== "number") throw new Error(`${this.name}: no suggested_atol for ${name}`);
    // Ten times what one run of torch in f32 was off by; a run may be lucky. Half a last place on weights and pictures moved one gradient of
    // DINOv2 by 1.3e-5 of its largest value in the worst of 20 runs of torch, and by 1e-6 in the run that its bound came from.
    return name.startsWith("grad.") ? Math.max(atol, 2e-5 * (this.info.tensors?.[name]?.max_abs ?? 0)) : atol;
  }

  /** `got` within the case's own tolerance (times `scale`) of the tensor `name`; rows of `mask` that are 0 do not count. */
  async close(name: string, got: Tensor, { atol = this.atol(name), mask }: { atol?: number; mask?: number[][] } = {}): Promise<void> {
    near(await got.data(), this.values(name), atol, `${this.name}: ${name}`, mask?.flat());
    const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    assert.is(size(got.shape), size(this.shape(name)), `${this.name}: ${name} has another size`);
  }
}

export function near(got: ArrayLike<number>, want: ArrayLike<number>, atol: number, what: string, mask?: readonly number[]): void {
  assert.is(got.length, want.length, `${what}: ${got.length} values instead of ${want.length}`);
  const width = mask ? got.length / mask.length : 1;
  let worst = 0;
  let at = 0;
  for (let i = 0; i < got.length; ++i) {
    if (mask && !mask[Math.floor(i / width)]) continue;
    const [g, w] = [got[i] as number, want[i] as number];
    assert.not(Number.isNaN(w), `${what}: NaN is expected at ${i}: the case shows nothing there`);
    const d = Number.isNaN(g) ? Infinity : g === w ? 0 : Math.abs(g - w);
    if (d > worst) [worst, at] = [d, i];
  }
  assert.ok(worst <= atol, `${what}: off by ${worst} at ${at} (got ${got[at]}, want ${want[at]}), more than ${atol}`);
}

export const largest = (values: ArrayLike<number>): number => Array.from(values).reduce((most, v) => Math.max(most, Math.abs(v)), 0);
