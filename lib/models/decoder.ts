// A language model inside of a checkpoint that holds more: where its names begin, and its configuration.
import type { WeightSource } from "../io/checkpoint.js";
import { Stacked } from "../io/stacked.js";
import { renamed, type View } from "../io/views.js";
import { describe, StateError } from "../nn/module.js";
import { type Json, section } from "./config.js";
import { ideficsText } from "./idefics-config.js";
import type { Piece } from "./piece.js";

/** Where a decoder's names begin: those of its body (embedding, layers, norm), and those of its head. */
export interface DecoderPlace {
  body: string;
  head: string;
}

/** Under the names of a folder that holds the language model alone, IDEFICS' rows of added tokens behind those of its tables. */
export function decoderView(source: WeightSource, { body, head }: DecoderPlace): View {
  const view = renamed(source, (name) => {
    if (name.startsWith(`${head}.`)) return `lm_head.${name.slice(head.length + 1)}`;
    return /^(embed_tokens|layers|norm)\./.test(below(name, body)) ? `model.${below(name, body)}` : undefined;
  });
  return DECOUPLED.some(([, rest]) => view.has(rest)) ? new Stacked(view, DECOUPLED) : view;
}
const DECOUPLED = [
  ["model.embed_tokens.weight", "model.embed_tokens.additional_embedding.weight"],
  ["lm_head.weight", "lm_head.additional_fc.weight"],
] as const;
const below = (name: string, body: string): string => (name.startsWith(`${body}.`) ? name.slice(body.length + 1) : "");

const ANCHOR = ".embed_tokens.weight";

/** Otter's types: each layer stands as decoder_layer beside a gated one, whatever the family is. */
const BESIDE_GATED = ["otter", "flamingo"];
/** Below lang_encoder, without the gated layers. */
export const besideGated = (source: WeightSource): View =>
  renamed(source, (name) => {
    const own = below(name, "lang_encoder");
    return !own || /\.\d+\.gated_cross_attn_layer\./.test(own) ? undefined : own.replace(/(\.\d+)\.decoder_layer\./, "$1.");
  });

/** The one that a larger model's checkpoint holds. Throws E_STATE where there is none, or more than one. */
export function decoderOf(source: WeightSource, json: Json): Piece {
  if (BESIDE_GATED.includes(json.model_type as string)) return { source: besideGated(source), config: textConfig(json) };
  const found = [...source.names()].filter((name) => name.endsWith(ANCHOR));
  if (found.length !== 1)
    throw new StateError(`one language model, with one name that ends in "${ANCHOR}", in ${source.path}`, describe([], found) || "none");
  const body = (found[0] as string).slice(0, -ANCHOR.length);
  const heads = [body.replace(/(^|\.)model$/, "$1lm_head"), body.replace(/(^|\.)model\.model$/, "$1lm_head"), "lm_head"].filter((name) =>
    source.has(`${name}.weight`),
  );
  return { source: decoderView(source, { body, head: heads[0] ?? "lm_head" }), config: textConfig(json) };
}

/** What transformers' classes have where a text_config is silent: the hub's name only what differs from it. */
const DEFAULTS: Readonly<Record<string, Json>> = {
  llama: {
    ...{ vocab_size: 32000, hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 32, num_attention_heads: 32 },
    ...{ max_position_embeddings: 2048, rms_norm_eps: 1e-6 },
  },
  mistral: {
    ...{ vocab_size: 32000, hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, num_attention_heads: 32 },
    ...{ num_key_value_heads: 8, max_position_embeddings: 131072, rms_norm_eps: 1e-6, sliding_window: 4096 },
  },
  qwen2: {
    ...{ vocab_size: 151936, hidden_size: 4096, intermediate_size: 22016, num_hidden_layers: 32, num_attention_heads: 32 },
    ...{ num_key_value_heads: 32, max_position_embeddings: 32768, rms_norm_eps: 1e-6 },
  },
};

/** Larger models whose language model is an OPT where they do not say which. */
const NAMELESS_OPT = ["blip-2", "instructblip"];

/** The language model's own configuration: text_config with its class's defaults, or all of an original's, which is one of a language model and more. */
export function textConfig(json: Json): Json {
  if (json.model_type === "idefics") return ideficsText(json, DEFAULTS.llama as Json);
  if (json.text_config === undefined) return { ...json, model_type: "llama" };
  const own = section(json, "text_config");
  if (own.model_type === undefined && NAMELESS_OPT.includes(json.model_type as string))
    return textConfig({ ...json, text_config: { ...own, model_type: "opt" } });
  const defaults = DEFAULTS[String(own.model_type ?? "llama")] ?? {};
  const outer: Json = {};
  for (const key of ["dtype", "torch_dtype", "quantization_config", "tie_word_embeddings"])
    if (json[key] !== undefined && own[key] === undefined) outer[key] = json[key];
  return { model_type: "llama", ...defaults, ...outer, ...own };
}
