// LoRA through a frozen 4-bit LLaMA (QLoRA, arXiv 2305.14314): a hundred steps leave no bytes behind and the frozen codes untouched; the bits do
// not depend on the number of threads, on recomputing layers, or on yielding to the event loop; another seed gives another run.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { slice } from "../../lib/core/turns.js";
import { backward, backwardAsync, type Device, device, seed, Tensor } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { linear, sum } from "../../lib/ops/index.js";
import type { Trainee } from "../../lib/train/trainee.js";
import { train } from "../../lib/train/trainer.js";
import { Case, caseNames } from "../case.js";

const c = new Case(caseNames(/^llama2$/)[0]!);
const input = { inputIds: c.rows("in.input_ids.right"), attentionMask: c.rows("in.attention_mask.right") };
const labels = c.rows("in.labels.right");

interface Options {
  d: Device;
  steps: number;
  seed?: number;
  recompute?: boolean;
  yielding?: boolean;
  afterStep?: (step: number) => Promise<void>;
}
interface Result {
  losses: number[];
  weights: Map<string, Float32Array>;
}

async function frozenBytes(adapter: LoraAdapter): Promise<Map<string, Uint8Array>> {
  const bytes = new Map<string, Uint8Array>();
  for (const [path, { base }] of adapter.layers) {
    assert.ok(base instanceof QuantizedLinear, `${path} is not quantised`);
    for (const [i, tensor] of base.weight.tensors().entries()) bytes.set(`${path}.${i}`, new Uint8Array(await tensor.bytes()));
  }
  return bytes;
}

async function trained({ d, steps, seed: first = 5, recompute = false, yielding = false, afterStep }: Options): Promise<Result> {
  seed(first);
  const llm = LlamaForCausalLM.fromPretrained(c.folder, { device: d, quantization: { format: "nf4", doubleQuant: true } });
  llm.gradientCheckpointing = recompute;
  const adapter = LoraAdapter.apply(llm, { r: 4, alpha: 8, dropout: 0.25 }, { seed: first });
  llm.train(); // after the branches are there
  const before = await frozenBytes(adapter);
  const losses: number[] = [];
  const trainee: Trainee<number> = {
    parameters: adapter.namedParameters(),
    losses: () => [() => llm.forward(input, { labels, logits: false }).loss as Tensor],
    items: () => 1,
    training: () => undefined,
  };
  const usual = slice.ms;
  if (yielding) slice.ms = 0;
  try {
    for await (const { step, loss } of train(trainee, { next: (step) => step }, { steps, learningRate: 1e-2, maxGradNorm: 1 })) {
      losses.push(loss);
      await afterStep?.(step);
    }
  } finally {
    slice.ms = usual;
  }
  assert.equal(await frozenBytes(adapter), before);
  const weights = new Map<string, Float32Array>();
  for (const [name, p] of adapter.namedParameters()) weights.set(name, (await p.data()) as Float32Array);
  llm.dispose();
  return { losses, weights };
}

const one = device("cpu", { threads: 1 });

test("a hundred steps: the loss falls, no bytes stay, the frozen codes are what they were", async () => {
  await one.synchronize();
  const empty = one.memory();
  let baseline = 0;
  const { losses } = await trained({
    d: one,
    steps: 102,
    afterStep: async (step) => {
      await one.synchronize();
      if (step === 2) baseline = one.memory().bytesInUse;
      if (step > 2 && step < 102) assert.is(one.memory().bytesInUse, baseline, `bytes in use after step ${step}`);
    },
  });
  assert.ok(losses.at(-1)! < 0.5 * losses[0]!, `${losses[0]} → ${losses.at(-1)}`);
  await one.synchronize();
  assert.is(one.memory().bytesInUse, empty.bytesInUse, "the model leaves memory behind");
  assert.is(one.memory().tensors, empty.tensors);
});

test("the same bits on one thread and three, with layers recomputed, and with backward in slices", async () => {
  const want = await trained({ d: one, steps: 4 });
  assert.equal(await trained({ d: one, steps: 4 }), want, "run again");
  assert.equal(await trained({ d: device("cpu", { threads: 3 }), steps: 4 }), want, "three threads");
  assert.equal(await trained({ d: one, steps: 4, recompute: true }), want, "recomputed");
  assert.equal(await trained({ d: one, steps: 4, yielding: true }), want, "in slices");
  assert.not.equal((await trained({ d: one, steps: 4, seed: 6 })).losses, want.losses);
});

test("between two slices of a backward pass another graph may be recorded and walked", async () => {
  const w = Tensor.full([3, 3], 0.5, { device: one, requiresGrad: true });
  const llm = LlamaForCausalLM.fromPretrained(c.folder, { device: one, trainable: true });
  using loss = llm.forward(input, { labels, logits: false }).loss as Tensor;
  const walking = backwardAsync(loss, { sliceMs: 0 });
  using other = Tensor.full([2, 3], 1, { device: one });
  await new Promise(setImmediate);
  backward(sum(linear(other, w)));
  await walking;
  assert.equal([...(await w.grad!.data())], new Array(9).fill(2));
  assert.ok([...llm.parameters()].every((p) => p.grad));
  llm.dispose();
});

test.run();
