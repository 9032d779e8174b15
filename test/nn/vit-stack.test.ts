// A tower that trains need not keep the activations of all its blocks; what no gradient comes through is on no tape.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Wrap, wrap } from "../../lib/nn/layer.js";
import type { VitAttention } from "../../lib/nn/vit-attention.js";
import { VitStack } from "../../lib/nn/vit-stack.js";
import { Weights } from "../../lib/nn/weights.js";
import { scaleAdd, sum } from "../../lib/ops/index.js";
import { here } from "../case.js";
import { noise } from "../models/encoders.js";

const SIZES = { width: 32, heads: 4, hidden: 128, activation: "gelu", eps: 1e-5, layers: 12 } as const;
const fresh = () => new VitStack(Weights.fresh({ device: here, trainable: true, seed: 1 }), "huggingface", SIZES);

async function trained(
  stack: VitStack,
  step: (loss: ReturnType<typeof sum>) => void = backward,
): Promise<{ peak: number; grads: Float32Array[] }> {
  using x = noise([4, 64, SIZES.width], 2);
  await here.synchronize();
  here.resetPeak();
  const before = here.memory().bytesInUse;
  const loss = scope(() => sum(stack.forward(x).last));
  step(loss);
  loss.dispose();
  await here.synchronize();
  const peak = here.memory().bytesPeak - before;
  const grads: Float32Array[] = [];
  for (const p of stack.parameters()) {
    grads.push((await p.grad!.data()) as Float32Array);
    p.grad!.dispose();
    p.grad = undefined;
  }
  return { peak, grads };
}

test("blocks that are run again give the same gradients, bit for bit, at a fraction of the peak", async () => {
  using stack = fresh();
  await trained(stack); // buffers that stay
  const plain = await trained(stack);
  stack.gradientCheckpointing = true;
  const again = await trained(stack);
  assert.equal(again.grads, plain.grads);
  assert.ok(again.peak < 0.4 * plain.peak, `${again.peak} of ${plain.peak} bytes at the peak`);
});

class Halved extends Wrap<VitAttention> {
  forward(x: Parameters<VitAttention["forward"]>[0]) {
    const y = this.base.forward(x);
    return this.enabled ? scaleAdd(y, y, 0.5, 0) : y;
  }
}

test("an adapter that is switched between forward and a backward that runs blocks again is an error, not another gradient", async () => {
  using stack = fresh();
  const around = wrap(stack, "layers.3.self_attn", (base) => new Halved(base as VitAttention, "half"));
  stack.gradientCheckpointing = true;
  using x = noise([1, 5, SIZES.width], 2);
  const loss = scope(() => sum(stack.forward(x).last));
  around.enabled = false;
  let error: { code?: string } | undefined;
  try {
    backward(loss);
  } catch (caught) {
    error = caught as { code?: string };
  }
  assert.is(error?.code, "E_ADAPTER");
  loss.dispose();
  for (const p of stack.parameters()) p.grad?.dispose();
});

test("blocks behind the last state that is asked for hold nothing", async () => {
  using stack = fresh();
  using x = noise([4, 64, SIZES.width], 2);
  const held = async (walked?: number) => {
    await here.synchronize();
    const before = here.memory().bytesInUse;
    const state = scope(() => stack.forward(x, { states: [3], ...(walked !== undefined && { walked }) }).states[0]!);
    await here.synchronize();
    const bytes = here.memory().bytesInUse - before;
    backward(scope(() => sum(state)));
    state.dispose();
    return bytes;
  };
  const all = await held();
  const few = await held(3);
  assert.ok(few < 0.5 * all, `${few} of ${all} bytes`);
  assert.ok(stack.blocks[2]!.mlp.fc1 && stack.parameters().some((p) => p.grad));
  for (const p of stack.parameters()) p.grad?.dispose();
});

test.run();
