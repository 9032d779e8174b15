// What LLaMA-Adapter's two versions share: which layers have prompts, how they are put there, and how one table in a file holds those of all layers.
import { noGrad } from "../core/autograd.js";
import { keep, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { CausalSelfAttention } from "../nn/attention.js";
import { FusedSelfAttention } from "../nn/fused-attention.js";
import { innermost, type MakeWrap, places } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import type { Stored } from "../nn/overwriting.js";
import { type Attending, isAttending, PromptedAttention, type PromptedOptions } from "../nn/prompted-attention.js";
import { copy } from "../ops/index.js";
import type { Fail } from "./kind.js";

/** What the published files call the prompts of all layers, one below the other. */
export const TABLE = "adapter_query";
/** How the paths of a decoder's attention end, in every family. */
export const ATTENTION: readonly string[] = [".self_attn", ".attn"];

export interface FoundAttention {
  path: string;
  attention: CausalSelfAttention | FusedSelfAttention;
}

/** The last `layers` attention layers whose paths end so, from the bottom up. */
export function attentionLayers(model: Module, ends: readonly string[], layers: number | "all", fail: Fail): FoundAttention[] {
  const all: FoundAttention[] = [];
  for (const [path, module] of places(model)) {
    if (!ends.some((end) => path.endsWith(end))) continue;
    const attention = innermost(module);
    if (!(attention instanceof CausalSelfAttention || attention instanceof FusedSelfAttention))
      throw fail("layers of attention in a decoder", `"${path}", a ${attention.constructor.name}`);
    all.push({ path, attention });
  }
  if (layers === "all") return all;
  if (all.length < layers) throw fail(`at most the ${all.length} layers of attention that the model has`, `${layers}`);
  return all.slice(-layers);
}

/** A wrap that goes between the steps of attention: what stands there must have steps. */
export const between =
  (make: (base: Attending) => ReturnType<MakeWrap>, fail: Fail): MakeWrap =>
  (base) => {
    if (!isAttending(base))
      throw fail(
        "attention that can be asked step by step",
        `what another adapter put there, a ${base.constructor.name}; take that one off first`,
      );
    return make(base);
  };
export const prompted = (options: PromptedOptions, fail: Fail): MakeWrap => between((base) => new PromptedAttention(base, options), fail);

/** Rows of the table, as a parameter of their own. */
export function part(table: Tensor, start: number, length: number): Tensor {
  const own = noGrad(() => scope(() => keep(copy(table.slice(start, length)))));
  own.requiresGrad = table.requiresGrad;
  return own;
}

/** The prompts of all layers as the one table of the file, in the order of the layers. */
export function* storedPrompts(prompts: readonly Tensor[]): Generator<Stored> {
  for (const [i, prompt] of prompts.entries()) {
    const [K] = prompt.shape as [number];
    yield { keys: [`${TABLE}.weight`], tensor: prompt, rows: { from: i * K, of: prompts.length * K } };
  }
}
