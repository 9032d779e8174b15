// A model with its LoRA branches added in, as a folder that any reader of Hugging Face's layout loads. The sum is taken in f32 onto the numbers that the
// branches were trained against, which for a quantised base are the dequantised ones, and written dense: quantising the sum again would round away
// much of what was learned. What was written is then read back and asked, since rounding it to bf16 moves it too.
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { late, SAVE_OPTIONS, type SaveOptions, saveModel } from "../io/model-folder.js";
import type { Writable } from "../io/safetensors.js";
import { openCausalLM } from "../models/auto-causal-lm.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { LlamaForCausalLM } from "../models/llama.js";
import { AffineLinear } from "../nn/affine.js";
import { Embedding } from "../nn/embedding.js";
import { addsUp, dense, isFoldable } from "../nn/fold.js";
import { innermost, places, type Wrap, wrapsOn } from "../nn/layer.js";
import { Linear, type LinearLayer } from "../nn/linear.js";
import type { Module } from "../nn/module.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { cast } from "../ops/index.js";
import { isTied } from "./exchange.js";

/** How far logits moved, over the positions of the probe. */
export interface Drift {
  /** Largest and mean difference of a logit, in either direction. */
  largest: number;
  mean: number;
  /** Mean Kullback–Leibler divergence of the next token's distribution, in nats. */
  divergence: number;
  /** Share of positions with the same best token. */
  sameBest: number;
  positions: number;
}

export interface ExportOptions extends SaveOptions {
  /** What both are asked: rows of equal length. Default: two rows of 32 tokens from all over the vocabulary. */
  inputIds?: readonly (readonly number[])[];
  /** Called between writing and reading back, where the model is no longer needed: disposing it there halves the memory. */
  onWritten?: () => void;
}

const EXPORT_OPTIONS = [...SAVE_OPTIONS, "inputIds", "onWritten"];

/**
 * Writes `model`, which may carry a LoraAdapter and a quantised base, dense and merged, reads it back and says how far its logits are from the model's.
 * `configJson` is the config.json of the base. `dtype` default: the model's. Rejects as saveModel and AutoModelForCausalLM.fromPretrained do.
 */
export async function exportMerged(
  model: CausalDecoder,
  folder: string,
  configJson: Readonly<Record<string, unknown>>,
  given: ExportOptions = {},
): Promise<Drift> {
  checkOptions("exportMerged", given, EXPORT_OPTIONS);
  const { inputIds, onWritten, ...options } = given;
  const { device, dtype } = model;
  const probe = inputIds ?? probeIds(model.config.vocabSize);
  const before = await logitsOf(model, probe);
  const stored = [...mergedWeights(model, options.dtype ?? dtype)];
  const config = { ...configJson, ...biasesIn(model, stored) };
  await saveModel(folder, { namedParameters: () => [], namedModules: () => [], hostState: () => stored }, config, options);
  onWritten?.();
  using again = await openCausalLM(folder, { device, dtype });
  return drift(before, await logitsOf(again, probe), model.config.vocabSize);
}

/** Dense weights by their names in a plain checkpoint; each made when it is written. */
export function* mergedWeights(model: Module, dtype: "f32" | "bf16"): Generator<[string, Writable]> {
  checkAddsUp(model);
  const done = new Set<Tensor>(); // written in another form, or an adapter's
  for (const [path, layer] of places(model)) {
    const wraps = wrapsOn(layer);
    for (const wrap of wraps) for (const [, tensor] of wrap.own()) done.add(tensor);
    const base = innermost(layer);
    const table = base instanceof Embedding && wraps.some((wrap) => wrap.enabled && isFoldable(wrap));
    if (!(base instanceof QuantizedLinear || (base instanceof Linear && wraps.length) || table)) continue;
    if (!(base instanceof QuantizedLinear)) done.add(base.weight);
    const shape = base instanceof Embedding ? base.weight.shape : [base.outFeatures, base.inFeatures];
    yield [`${path}.weight`, late(dtype, shape, densePart(layer as LinearLayer, "weight", dtype))];
    if (table && isTied(model)) yield [model.paths.head, late(dtype, shape, () => noGrad(() => cast(base.weight, dtype)))]; // which has none of it
    if (base instanceof Embedding || !wraps.length || !(base.bias || wraps.some(addsBias))) continue;
    if (base.bias) done.add(base.bias);
    yield [`${path}.bias`, late(dtype, [base.outFeatures], densePart(layer as LinearLayer, "bias", dtype))];
  }
  for (const [name, tensor] of model.namedParameters()) {
    if (done.has(tensor)) continue;
    yield [name, tensor.dtype === dtype ? tensor : late(dtype, tensor.shape, () => noGrad(() => cast(tensor, dtype)))];
  }
}

function densePart(layer: LinearLayer, part: "weight" | "bias", dtype: "f32" | "bf16"): () => Tensor {
  if (layer instanceof QuantizedLinear && part === "weight") return () => layer.weight.dequantize(dtype);
  return () =>
    noGrad(() =>
      scope(() => {
        const one = dense(layer)[part] as Tensor;
        return one.dtype === dtype ? one.detach() : cast(one, dtype); // it may be the layer's very own
      }),
    );
}

const addsBias = (wrap: Wrap): boolean => wrap instanceof AffineLinear && wrap.enabled && wrap.bias !== undefined;

/** What a LLaMA's config.json says of biases, where adapters brought some. Throws E_ADAPTER where they did so at some of the layers that it speaks of only. */
function biasesIn(model: CausalDecoder, stored: Iterable<readonly [string, unknown]>): object {
  const names = new Set(Array.from(stored, ([name]) => name));
  const brought = [...places(model)].some(([, layer]) => wrapsOn(layer).some(addsBias));
  if (!brought) return {};
  const linear = [...names].filter((name) => /_proj\.weight$/.test(name));
  const bare = linear.find((name) => !names.has(name.replace(/weight$/, "bias")));
  if (model instanceof LlamaForCausalLM && bare === undefined) return { attention_bias: true, mlp_bias: true };
  throw expected(
    "E_ADAPTER",
    "exportMerged",
    "biases at all linear layers of a LLaMA, or at none",
    bare === undefined ? `some in a ${model.constructor.name}` : `some, and none at "${bare}"`,
    "save the adapter beside the model",
  );
}

/** Throws E_ADAPTER where an adapter that takes part is no part of any weight: the folder would be of another model. */
function checkAddsUp(model: Module): void {
  const fail = (got: string) =>
    expected("E_ADAPTER", "exportMerged", "adapters that add up to weights", got, "take it off, or save the adapter beside the model");
  for (const [path, layer] of places(model)) {
    const other = wrapsOn(layer).find((wrap) => wrap.enabled && !addsUp(wrap));
    if (other) throw fail(`"${other.owner}", a ${other.constructor.name} at "${path}"`);
  }
  if (model instanceof CausalDecoder && model.lead) throw fail("one that puts rows before every sequence");
}

/** All over the vocabulary, the same every time; a prime step visits every token before it repeats one. */
function probeIds(vocabulary: number): number[][] {
  return [0, 1].map((row) => Array.from({ length: 32 }, (_, i) => (7919 * (i + 32 * row) + 1) % vocabulary));
}

async function logitsOf(model: CausalDecoder, inputIds: readonly (readonly number[])[]): Promise<Float32Array> {
  const training = model.training;
  let all: Tensor;
  try {
    model.train(false); // dropout would be taken for drift
    all = noGrad(() => model.forward({ inputIds: inputIds.map((row) => [...row]) })).logits as Tensor;
  } finally {
    model.train(training);
  }
  return Float32Array.from((await all.data().finally(() => all.dispose())) as Float32Array);
}

/** Of two (positions, V) tables of logits. */
export function drift(before: Float32Array, after: Float32Array, vocabulary: number): Drift {
  const positions = before.length / vocabulary;
  let [largest, total, divergence, same] = [0, 0, 0, 0];
  for (let at = 0; at < positions; ++at) {
    const [p, q] = [before, after].map((all) => all.subarray(at * vocabulary, (at + 1) * vocabulary)) as [Float32Array, Float32Array];
    const [logP, logQ] = [logSum(p), logSum(q)];
    for (let i = 0; i < vocabulary; ++i) {
      const [a, b] = [p[i] as number, q[i] as number];
      const moved = Number.isNaN(a - b) ? Infinity : Math.abs(a - b);
      largest = Math.max(largest, moved);
      total += moved;
      divergence += Math.exp(a - logP) * (a - logP - (b - logQ));
    }
    if (best(p) === best(q)) ++same;
  }
  return { largest, mean: total / before.length, divergence: Math.max(0, divergence / positions), sameBest: same / positions, positions };
}

function logSum(row: Float32Array): number {
  const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(row.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

const best = (row: Float32Array): number => row.reduce((at, value, i) => (value > (row[at] as number) ? i : at), 0);
