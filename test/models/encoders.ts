// What the tests of encoders share.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { saveModel } from "../../lib/io/model-folder.js";
import type { Encoder } from "../../lib/models/encoder.js";
import type { Module } from "../../lib/nn/module.js";
import { add, concat, linear, mul, sum } from "../../lib/ops/index.js";
import { type Case, here, near } from "../case.js";
import { checkGradients, random } from "../harness.js";
import { some } from "../some.js";

/** Uniform in [-1, 1) on the device. */
export function noise(shape: readonly number[], seed: number): Tensor {
  return Tensor.from(numbers(shape, seed), shape, { device: here });
}
function numbers(shape: readonly number[], seed: number): Float32Array {
  const draw = random(seed);
  return Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, draw);
}

export function disposeAll(...outputs: readonly object[]): void {
  for (const output of outputs) for (const tensor of Object.values(output)) if (tensor instanceof Tensor) tensor.dispose();
}

export function code(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
}

/** Saves the model into a folder that lives as long as `use` runs. */
export async function reloaded(
  model: Module & { configJson(): Record<string, unknown> },
  use: (folder: string) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "anymal-encoder-"));
  try {
    await saveModel(folder, model, model.configJson());
    await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Each output of a batch against those of its items alone. Sums may be taken in another order, so the last bits may differ. */
export async function sameOneByOne<T extends object>(batch: Tensor, forward: (x: Tensor) => T): Promise<void> {
  const all = forward(batch);
  const items = batch.shape[0] as number;
  for (let n = 0; n < items; ++n) {
    const x = batch.slice(n, 1);
    const one = forward(x);
    for (const [key, value] of Object.entries(one) as [keyof T & string, Tensor][]) {
      const whole = await (all[key] as Tensor).data();
      const size = whole.length / items;
      near(await value.data(), whole.slice(n * size, (n + 1) * size), 3e-6, `${key} of item ${n}`);
    }
    disposeAll(one, { x });
  }
  disposeAll(all, { batch });
}

/**
 * The gradients of outputs weighted at random against central differences. Each parameter is moved along one random direction, p + c·d: a
 * wrong entry anywhere in its gradient shows in the slope by c, and there is one c instead of thousands. Zeros and ones of a fresh model are
 * shaken first. `reach` says how long d is: short where a step must not change which element of a pool is the largest.
 */
export async function parameterGradients(
  model: Module,
  run: () => Record<string, Tensor>,
  seed: number,
  reach: (name: string) => number = () => 1,
): Promise<void> {
  const parameters = [...model.namedParameters()];
  const places = new Map<string, { start: Tensor; direction: Tensor }>();
  const inputs: Record<string, { values: Float32Array; shape: readonly number[] }> = {};
  for (const [i, [name, p]] of parameters.entries()) {
    const shake = numbers(p.shape, seed + i);
    const shaken = ((await p.data()) as Float32Array).map((v, j) => v + 0.1 * shake[j]!);
    places.set(name, {
      start: Tensor.from(shaken, p.shape, { device: here }),
      direction: Tensor.from(
        numbers(p.shape, seed + 1000 + i).map((v) => v * reach(name)),
        [p.size, 1],
        { device: here },
      ),
    });
    inputs[name] = { values: new Float32Array(1), shape: [1, 1] };
  }
  await checkGradients(
    model.constructor.name,
    here,
    inputs,
    (tensors) => {
      const own = parameters.map(([name]) => {
        const { start, direction } = places.get(name)!;
        return [name, model.replace(name, add(linear(tensors[name]!, direction).reshape(start.shape), start))] as const;
      });
      try {
        return concat(
          Object.values(run()).map((y) => y.reshape([y.size])),
          0,
        );
      } finally {
        for (const [name, old] of own) model.replace(name, old);
      }
    },
    seed,
  );
  for (const place of places.values()) disposeAll(place);
}

/** The case's hidden states, its last one, and what was pooled, where it has them, from `prefix`.pixel_values. */
export async function everyState(c: Case, model: Encoder, prefix: string): Promise<void> {
  using x = c.tensor(`${prefix}.pixel_values`);
  const keys = c.names(`${prefix}.hidden_states.`);
  assert.ok(keys.length, `${c.name} has no hidden states`);
  for (const key of keys) {
    const out = model.forward(x, { layer: Number(key.split(".").at(-1)) });
    await c.close(key, out.hidden);
    disposeAll(out);
  }
  const out = model.forward(x);
  await c.close(`${prefix}.last_hidden_state`, out.hidden);
  if (c.has(`${prefix}.pooler_output`)) await c.close(`${prefix}.pooler_output`, out.pooled);
  if (c.has(`${prefix}.image_embeds`)) await c.close(`${prefix}.image_embeds`, out.embeds);
  assert.equal([out.hidden.shape[2], out.pooled.shape], [model.width, [x.shape[0], model.width]]);
  assert.equal(out.embeds.shape, [x.shape[0], model.embedDim]);
  assert.not(out.hidden.requiresGrad && !model.trainable().length);
  disposeAll(out);
}

/** A model that computes in bf16 is off from the case's f32 by a small part of it. */
export async function nearInBf16(c: Case, model: Encoder): Promise<void> {
  using x = c.tensor("out.pixel_values");
  const out = model.forward(x);
  assert.equal([model.dtype, out.hidden.dtype, out.embeds.dtype], ["bf16", "bf16", "bf16"]);
  const [want, got] = [c.values("out.last_hidden_state"), await out.hidden.data()];
  const rms = (values: ArrayLike<number>) => Math.sqrt(Array.from(values).reduce((sum, v) => sum + v * v, 0) / values.length);
  const error = rms(Float32Array.from(want, (v, i) => v - got[i]!)) / rms(want);
  assert.ok(error > 0 && error < 0.05, `bf16 is off by ${error} of the last state`);
  disposeAll(out);
}

/** Backward from the case's scalar, Σ in.probe · last_hidden_state + Σ in.probe_embeds · embeds; every gradient, by the name that the case's file has for it. */
export async function trainedOnce(c: Case, model: Encoder, stored = (name: string) => name): Promise<void> {
  using x = c.tensor("out.pixel_values");
  using probe = c.tensor("in.probe");
  const out = model.forward(x);
  using embedded = c.has("in.probe_embeds") ? c.tensor("in.probe_embeds") : undefined;
  const loss = scope(() => {
    const total = sum(mul(out.hidden, probe));
    return embedded ? add(total, sum(mul(out.embeds, embedded))) : total;
  });
  backward(loss);
  const own = new Map(Array.from(model.namedParameters(), ([name, p]) => [`grad.${stored(name)}`, p]));
  assert.equal(c.names("grad."), [...own.keys()].filter((key) => own.get(key)!.grad).sort());
  for (const key of some(c.names("grad."))) await c.close(key, own.get(key)!.grad!);
  for (const p of own.values()) p.grad?.dispose();
  disposeAll(out, { loss });
}

/** Runs it twice: the first run may leave what every later one finds, such as thread buffers. */
export async function settles(run: () => Promise<void>): Promise<void> {
  await run();
  await here.synchronize();
  const before = here.memory();
  await run();
  await here.synchronize();
  const after = here.memory();
  assert.is(after.tensors, before.tensors, "tensors are left");
  assert.is(after.bytesInUse, before.bytesInUse, "bytes are left");
}
