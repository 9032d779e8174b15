// Calls every entry of the native surface with arguments that a confused caller might pass: stale and made-up handles, the wrong types, huge
// and broken numbers, live tensors of unfit shapes. Each call must return or throw an Error with a code. Started by misuse.test.ts.

import { native } from "../../lib/core/native.js";
import { device, Tensor } from "../../lib/index.js";
import { random } from "../harness.js";

const seed = Number(process.argv[2]);
console.log(`seed ${seed}`);
const draw = random(seed);
const pick = <T>(list: readonly T[]): T => list[Math.floor(((draw() + 1) / 2) * list.length)] as T;

const n = native() as unknown as Record<string, (...args: unknown[]) => unknown>;
const d = device("cpu", { threads: 2 });
const SKIP = new Set([
  "device_open",
  "device_open_async",
  "device_close",
  "capture_begin",
  "capture_end",
  "tensor_create",
  "random_uniform",
  "device_peak",
]);

const shapes = [[1], [4], [3, 4], [4, 4], [2, 3, 4], [1, 2, 4, 4], [0, 3]];
const live = () => {
  const shape = pick(shapes);
  const dtype = pick(["f32", "bf16", "i32", "u8"] as const);
  return Tensor.full(shape, dtype === "i32" || dtype === "u8" ? 1 : 0.5, { device: d, dtype });
};
let tensors = Array.from({ length: 24 }, live);
const stale = live();
const staleHandle = stale.handle;
stale.dispose();

const handle = () => pick(tensors).handle;
const junk: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => Number.NaN,
  () => -1,
  () => 1e300,
  () => 2 ** 53,
  () => 0.5,
  () => staleHandle,
  () => Math.floor(draw() * 1e6),
  () => "text",
  () => ({}),
  () => [],
  () => [handle(), handle()],
  () => [1, -4],
  () => [2 ** 40, 2 ** 40],
  () => new Float32Array(3),
  () => Symbol("s"),
  () => () => 1,
  () => 10n,
];
const sound: readonly (() => unknown)[] = [
  handle,
  handle,
  handle,
  handle,
  () => 0,
  () => 1,
  () => 2,
  () => 64,
  () => 1e-5,
  () => true,
  () => false,
];

let calls = 0;
let errors = 0;
const pending: Promise<unknown>[] = [];
for (let round = 0; round < 200; ++round) {
  for (const [name, entry] of Object.entries(n)) {
    if (typeof entry !== "function" || SKIP.has(name)) continue;
    // Most arguments sound, one or two not: the checks behind the first one are reached as well.
    const args = Array.from({ length: Math.floor((draw() + 1) * 9) }, () => (draw() > 0.6 ? pick(junk)() : pick(sound)()));
    ++calls;
    try {
      const result = entry(...args);
      if (result instanceof Promise) pending.push(result.catch((error: Error & { code?: string }) => coded(name, error)));
    } catch (error) {
      coded(name, error as Error);
    }
  }
  for (const t of tensors) {
    try {
      t[Symbol.dispose]();
    } catch {
      // a forged tensor_dispose was faster
    }
  }
  tensors = Array.from({ length: 24 }, live);
  await d.synchronize().catch((error: Error & { code?: string }) => coded("synchronize", error));
}
await Promise.all(pending);

function coded(name: string, error: Error & { code?: string }): void {
  ++errors;
  if (typeof error.code === "string" && /^E_[A-Z_]+$/.test(error.code) && error.message.length > 10) return;
  console.error(`${name}: an error without a code: ${error.stack}`);
  process.exitCode = 1;
}
console.log(`calls ${calls}, errors ${errors}`);
