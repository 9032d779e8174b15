// Attention over 2,048 tokens with the heads of a model: causal forward and backward against the register peak, and a decode step, which reads keys and
// values once, against memory. What a step reads goes round a set that is larger than the last cache: between two steps the model has read all its weights.
import { native } from "../../lib/core/native.js";
import { capturedSampler } from "../captured.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { arithmeticLimit } from "../limits.js";
import type { OpCase, TensorOperand } from "../op-cases.js";
import { OpRunner } from "../op-runner.js";
import { randomConfig } from "../random-llama.js";
import { cacheBytes, copiesPast, type SuiteOptions } from "../suite.js";

const TOKENS = 2048;
const BRIEF_TOKENS = 64; // of the tiny size, which is for trying
const PASSES = ["forward", "backward", "decode"] as const;
const TURNS = 5;

interface Case {
  name: string;
  dtype: "f32" | "bf16";
  pass: (typeof PASSES)[number];
  heads: number;
  kvHeads: number;
  dim: number;
  tokens: number;
}

export default function attention(options: SuiteOptions): Promise<Figures[]> {
  const { heads, kvHeads } = randomConfig(options.size);
  const tokens = options.size === "tiny" ? BRIEF_TOKENS : TOKENS;
  return atEachLevel(options, async (place, report) => {
    for (const dtype of ["bf16", "f32"] as const)
      for (const dim of [64, 128])
        for (const pass of PASSES) {
          const name = `${dtype}, ${heads} heads over ${kvHeads}, D ${dim}, ${tokens} tokens, ${pass}`;
          if (name.includes(options.filter)) report(await measure(options, place, { name, dtype, pass, heads, kvHeads, dim, tokens }));
        }
  });
}

async function measure(options: SuiteOptions, { device, level, peaks }: Place, c: Case): Promise<Figures[]> {
  const { flops, bytes } = workOf(c);
  const copies = c.pass === "decode" ? copiesPast(cacheBytes(device), bytes) : 1;
  const runners = Array.from({ length: copies }, () => new OpRunner(device, opCase(c)));
  let next = 0;
  using ours = await capturedSampler(device, () => (runners[next++ % copies] as OpRunner).enqueue(), copies);
  const request = { what: "attention", dtype: c.dtype, pass: c.pass, batch: 1, heads: c.heads, kvHeads: c.kvHeads, dim: c.dim };
  const torch = (await options.rivals?.torch([{ ...request, keys: c.tokens, copies }, "SDPA"])) ?? [];
  const limit =
    c.pass === "decode" ? { name: "memory bandwidth", seconds: bytes / peaks.bandwidth } : arithmeticLimit(peaks, c.dtype, flops);
  const more = (seconds: number): Record<string, number> =>
    c.pass === "decode" ? { "GB/s": bytes / seconds / 1e9 } : { "GFLOP/s": flops / seconds / 1e9 };
  const told = { case: c.name, level, unit: "us", of: (seconds: number) => 1e6 * seconds, limit, more };
  const figures = await contest(told, () => ours.sample(), [torch], options.turns ?? TURNS, true);
  for (const side of torch) await side.drop();
  for (const runner of runners) runner[Symbol.dispose]();
  return figures;
}

/** Products of T × T/2 (causal): two forward, five backward. */
function workOf({ dtype, pass, heads, kvHeads, dim, tokens }: Case): { flops: number; bytes: number } {
  const queries = pass === "decode" ? 1 : tokens;
  const width = dtype === "f32" ? 4 : 2;
  const product = 2 * heads * queries * tokens * dim * (pass === "decode" ? 1 : 0.5);
  return { flops: (pass === "backward" ? 5 : 2) * product, bytes: width * dim * (2 * tokens * kvHeads + 2 * queries * heads) };
}

function opCase({ name: shape, dtype, pass, heads, kvHeads, dim, tokens }: Case): OpCase {
  const x = (...shape: number[]): TensorOperand => ({ dtype, shape });
  const [q, kv] = [x(1, tokens, heads, dim), x(1, tokens, kvHeads, dim)];
  const scale = dim ** -0.5;
  if (pass === "forward") return { op: "attention", shape, args: [q, kv, kv, undefined, undefined, scale, true, 0] };
  if (pass === "backward") {
    const lse: TensorOperand = { dtype: "f32", shape: [1, heads, tokens] };
    return { op: "attention_backward", shape, args: [undefined, q, q, kv, kv, q, lse, undefined, undefined, scale, true, 0] };
  }
  const range = (device: number) => native().tensor_from(device, 2, [1, 2], Int32Array.of(0, tokens));
  return { op: "attention_decode", shape, args: [x(1, 1, heads, dim), kv, kv, undefined, undefined, range, scale, 0] };
}
