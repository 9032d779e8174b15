// An adapter from a folder, whatever its kind: adapter_config.json says which.
import { nearest, shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import type { WeightSource } from "../io/checkpoint.js";
import type { Module } from "../nn/module.js";
import { Weights } from "../nn/weights.js";
import { type Adapter, attach } from "./adapter.js";
import { type AdapterDrawing, type AdapterLoading, CONFIG, configOf, deviceOf, fresh, loaded } from "./adapter-files.js";
import { BOTTLENECK, type BottleneckConfig } from "./bottleneck.js";
import { GATED, type GatedConfig } from "./gated.js";
import { IA3, type Ia3Config } from "./ia3.js";
import type { AdapterKind, Json } from "./kind.js";
import { LAVIN, type LavinConfig } from "./lavin.js";
import { ADAPTION_PROMPT, type AdaptionPromptConfig, LLAMA_ADAPTER, type LlamaAdapterConfig } from "./llama-adapter.js";
import { LLAMA_ADAPTER_V2, type LlamaAdapterV2Config } from "./llama-adapter-v2.js";
import { LORA } from "./lora.js";
import type { LoraConfig } from "./lora-config.js";
import { PINK, type PinkConfig } from "./pink.js";
import { PREFIX_TUNING, type PrefixTuningConfig } from "./prefix-tuning.js";
import { PROMPT_TUNING, type PromptTuningConfig } from "./prompt-tuning.js";
import { TRAINED_TOKENS, type TrainedTokensConfig } from "./trained-tokens.js";

/** By the peft_type of adapter_config.json; those that PEFT has not, by its "kind". */
export const ADAPTER_KINDS = {
  LORA,
  TRAINABLE_TOKENS: TRAINED_TOKENS,
  IA3,
  pink: PINK,
  lavin: LAVIN,
  bottleneck: BOTTLENECK,
  ADAPTION_PROMPT,
  PROMPT_TUNING,
  PREFIX_TUNING,
  "llama-adapter-v1": LLAMA_ADAPTER,
  "llama-adapter-v2": LLAMA_ADAPTER_V2,
  "gated-cross-attention": GATED,
} as const;

/** Options of each kind, by its own name, as manifests and recipes have it. */
export interface AdapterOptions {
  lora: LoraConfig;
  ia3: Ia3Config;
  pink: PinkConfig;
  lavin: LavinConfig;
  bottleneck: BottleneckConfig;
  "llama-adapter-v1": LlamaAdapterConfig;
  "llama-adapter-v2": LlamaAdapterV2Config;
  "adaption-prompt": AdaptionPromptConfig;
  "gated-cross-attention": GatedConfig;
  "prompt-tuning": PromptTuningConfig;
  "prefix-tuning": PrefixTuningConfig;
  "trained-tokens": TrainedTokensConfig;
}

/** The kind that an adapter_config.json is of. Throws E_ADAPTER on one that nobody knows. */
export function adapterKindOf(json: Json, where: string): AdapterKind {
  const said = json.peft_type ?? json.kind;
  const known = Object.keys(ADAPTER_KINDS);
  if (typeof said === "string" && Object.hasOwn(ADAPTER_KINDS, said))
    return ADAPTER_KINDS[said as keyof typeof ADAPTER_KINDS] as unknown as AdapterKind;
  const near = typeof said === "string" ? nearest(said, known) : undefined;
  throw expected(
    "E_ADAPTER",
    where,
    `a peft_type of ${known.join(", ")}`,
    said === undefined ? "none" : shown(said),
    near && `did you mean "${near}"?`,
  );
}

/** From a folder that PEFT or save() wrote. Rejects with E_ADAPTER, or the kind's own code, where the folder holds none that fits the model. */
export async function loadAdapter(model: Module, folder: string, loading: AdapterLoading = {}): Promise<Adapter> {
  const json = await configOf(folder, CONFIG);
  return loaded(adapterKindOf(json, folder), "loadAdapter", model, folder, loading);
}

const BY_NAME: Readonly<Record<string, AdapterKind>> = Object.fromEntries(
  Object.values(ADAPTER_KINDS).map((kind) => [kind.name, kind as unknown as AdapterKind]),
);
export const adapterKindNames: readonly string[] = Object.keys(BY_NAME);

/** What a folder of one of this kind holds: the kinds differ in what they call their weights. */
export function adapterFilesOf(name: string): readonly string[] {
  const { config, weights } = (BY_NAME[name] as AdapterKind).files;
  return [config, weights];
}

/** Of the weights of a larger model, under the kind's names; all of them belong to it. */
export function adapterFrom(model: Module, kindName: string, source: WeightSource, config: object, name: string): Adapter {
  const kind = BY_NAME[kindName] as AdapterKind;
  const at = Weights.from(source, { device: deviceOf(kind, model), dtype: "f32" });
  return attach(kind, model, kind.complete(config, model), at, { name });
}

/**
 * A fresh one of a kind, which changes nothing yet. What it does not train should be frozen by the caller. Throws E_ADAPTER, or the kind's own code, on
 * options that are unknown, out of range, or fit nothing of the model.
 */
export function createAdapter<K extends keyof AdapterOptions>(
  model: Module,
  name: K,
  options: Partial<AdapterOptions[K]> = {},
  drawing: AdapterDrawing = {},
): Adapter {
  const kind = BY_NAME[name];
  if (kind) return fresh(kind, "createAdapter", model, options, drawing);
  const near = nearest(String(name), adapterKindNames);
  throw expected("E_ADAPTER", "createAdapter", `a kind of ${adapterKindNames.join(", ")}`, shown(name), near && `did you mean "${near}"?`);
}
