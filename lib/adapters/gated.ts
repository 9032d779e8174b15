// Gated cross-attention as an adapter: a block of OpenFlamingo's or IDEFICS' form around every n-th decoder layer.
import { is, type Schema } from "../core/checks.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import type { Layer } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { GatedCrossAttention } from "./gated-cross-attention.js";
import { IdeficsGatedBlock } from "./gated-idefics.js";
import { GatedLayer } from "./gated-layer.js";
import { type AdapterKind, type AdapterPlan, adapterFault, completed, type Json } from "./kind.js";

export interface GatedConfig {
  /** openflamingo: before layers n - 1, 2n - 1, …; idefics: before layers 0, n, 2n, … Default openflamingo. */
  form: "openflamingo" | "idefics";
  every: number;
  /** Width of the media's rows. */
  dimVisual: number;
  heads: number;
  dimHead: number;
  /** OpenFlamingo: the feed-forward is so many times as wide as the model. */
  ffMult: number;
  /** IDEFICS: width of the feed-forward. */
  hidden: number;
  /** A token sees the latest medium before it, or all. */
  onlyAttendImmediateMedia: boolean;
  /** IDEFICS: RMSNorm on each head of queries and keys; a gate for each channel; epsilon of the norms. */
  headNorm: boolean;
  vectorGates: boolean;
  eps: number;
}

const fail = adapterFault("gated cross-attention");
const count = is.upTo(1 << 20, 1);
const schema: Schema = {
  form: is.oneOf("openflamingo", "idefics"),
  every: count,
  dimVisual: count,
  heads: count,
  dimHead: count,
  ffMult: count,
  hidden: count,
  onlyAttendImmediateMedia: is.flag,
  headNorm: is.flag,
  vectorGates: is.flag,
  eps: is.number(0, 1),
};
const DEFAULTS: GatedConfig = {
  ...({ form: "openflamingo", every: 1, dimVisual: 1024, heads: 8, dimHead: 64, ffMult: 4, hidden: 11008 } as const),
  ...({ onlyAttendImmediateMedia: true, headNorm: false, vectorGates: false, eps: 1e-6 } as const),
};

/** Fresh blocks begin with gates that are shut: the model computes what it did. */
export const GATED: AdapterKind<GatedConfig> = {
  name: "gated-cross-attention",
  schema,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete: (options) => completed({ name: "gated-cross-attention", schema, fail }, options, DEFAULTS),
  plan,
  read({ kind: _, ...json }: Json) {
    return GATED.complete(json as Partial<GatedConfig>);
  },
  write: (config) => ({ kind: GATED.name, ...config }),
  key: (path, name) => `${placeOf(path)}.${name}`,
  fail,
};

/** In the file a layer is its number, whatever the family calls it: OpenFlamingo's own files say no more. */
const placeOf = (path: string): string => `model.layers.${path.split(".").at(-1)}`;

function plan(model: Module, config: GatedConfig, at: Weights, owner: string): AdapterPlan {
  if (!(model instanceof CausalDecoder)) throw fail("a language model", `a ${model.constructor.name}`);
  const dim = model.config.hiddenSize;
  const layers = model.model.layers.map((_, i) => `${model.paths.layers}.${i}`);
  const first = config.form === "idefics" ? 0 : config.every - 1;
  const paths = layers.filter((path) => Number(path.split(".").at(-1)) % config.every === first);
  if (!paths.length) throw fail(`a decoder of at least ${first + 1} layers`, `${layers.length} of them in ${model.constructor.name}`);
  const sees = config.onlyAttendImmediateMedia ? "latest" : "all";
  return {
    wraps: paths.map((path) => {
      const here = at.at(placeOf(path)).at("gated_cross_attn");
      const block =
        config.form === "idefics" ? new IdeficsGatedBlock(here, { ...config, dim }) : new GatedCrossAttention(here, { ...config, dim });
      return [path, (base: Module) => new GatedLayer(base as Layer, block, owner, sees)];
    }),
  };
}
