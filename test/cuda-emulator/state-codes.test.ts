// Codes of 8-bit states on a card, at the numbers where one code ends and the next begins: those of the CPU, which looks them up in another way.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Device, device, noGrad, scope, Tensor } from "../../lib/index.js";
import { adamwClipped } from "../../lib/ops/index.js";

const [cpu, card] = [device("cpu"), device("emulated")];
const BLOCK = 256;
type Moment = "m" | "v";

/** What a step without a past makes of gradients: m is the gradient itself, v its square; each block has a one, so that its maximum is 1. All times `scale`. */
async function codes(on: Device, gradients: readonly number[], moment: Moment, scale = 1): Promise<number[]> {
  const each = BLOCK - 1;
  const blocks = Math.ceil(gradients.length / each);
  const valueAt = (i: number) => (i % BLOCK === each ? 1 : (gradients[Math.floor(i / BLOCK) * each + (i % BLOCK)] ?? 0));
  const grads = Float32Array.from({ length: blocks * BLOCK }, (_, i) => scale * valueAt(i));
  using state = scope(() => {
    const make = (shape: number, dtype: "f32" | "u8") => Tensor.zeros([shape], { device: on, dtype });
    const item = {
      p: make(grads.length, "f32"),
      grad: Tensor.from(grads, [grads.length], { device: on }),
      lr: 0.01,
      weightDecay: 0,
      step: 1,
    };
    const states = { m: make(grads.length, "u8"), v: make(grads.length, "u8"), mAbsmax: make(blocks, "f32"), vAbsmax: make(blocks, "f32") };
    noGrad(() => adamwClipped([{ ...item, ...states }], { beta1: 0, beta2: 0, eps: 1e-8, maxNorm: 1e30 }));
    return states[moment];
  });
  const all = [...((await state.data()) as Iterable<number>)].filter((_, i) => i % BLOCK !== each);
  return all.slice(0, gradients.length);
}

const bits = new DataView(new ArrayBuffer(4));
function float(pattern: number): number {
  bits.setUint32(0, pattern);
  return bits.getFloat32(0);
}
const ONE = 0x3f800000; // of 1, as f32 has it

/** Bit patterns of the least positive numbers up to 1 that have another code than their neighbour below, by bisection on the CPU. */
async function borders(moment: Moment): Promise<number[]> {
  const codesAt = (patterns: readonly number[]) => codes(cpu, patterns.map(float), moment);
  const [first, last] = (await codesAt([1, ONE])) as [number, number];
  let ranges = Array.from({ length: last - first }, (_, i) => ({ code: first + 1 + i, low: 1, high: ONE }));
  for (let turn = 0; turn < 30; ++turn) {
    const middles = ranges.map(({ low, high }) => Math.floor((low + high) / 2));
    const at = await codesAt(middles);
    ranges = ranges.map(({ code, low, high }, i) => {
      const middle = middles[i] as number;
      return (at[i] as number) >= code ? { code, low, high: middle } : { code, low: middle, high };
    });
  }
  return ranges.map(({ high }) => high);
}

for (const moment of ["m", "v"] as const)
  test(`${moment}: on both sides of each border a card's codes are the CPU's`, async () => {
    const found = await borders(moment);
    assert.ok(found.length > 100, `${found.length} borders`);
    const near = [float(1), ...found.flatMap((at) => [at - 1, at, at + 1].map(float))];
    const values = moment === "m" ? [...near, ...near.map((x) => -x)] : near;
    // Of maxima as they are, so small that 1 / maximum is none, and 0.
    for (const scale of [1, moment === "m" ? 2 ** -130 : 2 ** -65, 0])
      assert.equal(await codes(card, values, moment, scale), await codes(cpu, values, moment, scale), `times ${scale}`);
  });

test.run();
