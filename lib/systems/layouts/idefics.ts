// IDEFICS-1 (transformers' IdeficsForVisionText2Text), Flamingo's open reproduction: a LLaMA whose tables have the rows of added tokens apart, CLIP's tower, a
// resampler, and gated layers before every n-th of the decoder's. Each of a file's tensors belongs to exactly one of them.
import type { GatedConfig } from "../../adapters/gated.js";
import type { TrainedTokensConfig } from "../../adapters/trained-tokens.js";
import type { WeightSource } from "../../io/checkpoint.js";
import { left, renamed, type View, within } from "../../io/views.js";
import { completeBridge } from "../../models/bridges/index.js";
import { activationKind, ConfigError, flag, headsOf, type Json, number, section, size } from "../../models/config.js";
import { decoderView, textConfig } from "../../models/decoder.js";
import { ideficsTower } from "../../models/idefics-config.js";
import { describe, StateError } from "../../nn/module.js";
import type { Published, PublishedAdapter } from "../published.js";

const IDEFICS = {
  name: "idefics",
  body: "model",
  head: "lm_head",
  tower: "model.vision_model",
  bridge: "model.perceiver_resampler",
  gated: "model.gated_cross_attn_layers",
};

/** They follow from the configuration. */
const BUFFERS = /(^|\.)(position_ids|rotary_emb\.inv_freq)$/;

/** As its processor writes a picture: between two edges, of which two pictures that follow each other share one. */
const WRITTEN = { id: "<image>", edge: "<fake_token_around_image>" };

interface Parts {
  llm: View;
  tower: View;
  bridge: View;
  gated: View;
}

/** Throws E_CONFIG where the configuration contradicts itself or the weights, E_STATE where the names are not IDEFICS'. */
export function ideficsPieces(source: WeightSource, json: Json): Published {
  const { llm, tower, bridge, gated } = partsOf(source);
  if (!flag(json, "use_resampler", false))
    throw new ConfigError(
      "use_resampler",
      "true",
      json.use_resampler,
      "take a checkpoint with a resampler: all that were published have one",
    );
  const text = textConfig(json);
  const vision = ideficsTower(json);
  const dim = vision.hidden_size as number;
  const every = size(json, "cross_layer_interval", 1);
  return {
    system: "flamingo",
    layout: IDEFICS.name,
    llm: { source: llm, config: text },
    written: WRITTEN,
    media: {
      image: {
        encoder: { source: tower, config: vision },
        bridge: renamed(bridge, (name) => `resampler.${name}`),
        setup: { projector: resamplerOf(json, dim), layer: -1, select: "all" },
        rows: size(section(json, "perceiver_config"), "resampler_n_latents", 64),
        token: WRITTEN.id,
      },
    },
    adapters: [gatedOf(json, text, dim, every, gated), ...addedRows(json, source)],
  };
}

/** Of a folder, from its names alone. */
export function ideficsLayout(source: WeightSource): string {
  partsOf(source);
  return IDEFICS.name;
}

function partsOf(source: WeightSource): Parts {
  const { body, head, tower, bridge, gated } = IDEFICS;
  const parts = {
    llm: decoderView(source, { body, head }),
    tower: renamed(within(source, tower), (name) => (BUFFERS.test(name) ? undefined : name)),
    bridge: within(source, bridge),
    gated: within(source, gated),
  };
  const wanted: [View, string, string][] = [
    [parts.llm, "model.embed_tokens.weight", `${body}.embed_tokens.weight`],
    [parts.tower, "embeddings.class_embedding", `${tower}.embeddings.class_embedding`],
    [parts.bridge, "latents", `${bridge}.latents`],
    [parts.gated, "0.alpha_cross_attn", `${gated}.0.alpha_cross_attn`],
  ];
  const missing = wanted.flatMap(([view, name, full]) => (view.has(name) ? [] : [full]));
  const taken = [parts.llm, within(source, tower), parts.bridge, parts.gated];
  const strangers = left(source, taken).filter((name) => !BUFFERS.test(name));
  if (missing.length || strangers.length)
    throw new StateError(`the tensors of IDEFICS, the layout ${IDEFICS.name}, in ${source.path}`, describe(missing, strangers));
  return parts;
}

function resamplerOf(json: Json, dim: number) {
  const own = section(json, "perceiver_config");
  const setup = {
    ...({ type: "resampler", form: "idefics", gives: "beside", normalize: false } as const),
    layers: size(own, "resampler_depth", 6),
    tokens: size(own, "resampler_n_latents", 64),
    heads: size(own, "resampler_n_heads", 16),
    dimHead: size(own, "resampler_head_dim", 96),
    headNorm: flag(own, "qk_layer_norms_perceiver", false),
  };
  return completeBridge(setup, dim, 0);
}

function gatedOf(json: Json, text: Json, dimVisual: number, every: number, gated: View): PublishedAdapter {
  const layers = size(text, "num_hidden_layers");
  const stored = new Set(Array.from(gated.names(), (name) => Number(name.split(".")[0]))).size;
  const fits = Math.ceil(layers / every);
  if (stored !== fits)
    throw new ConfigError(
      "cross_layer_interval",
      `such that ${layers} layers have the ${stored} gated ones of the weights`,
      `${every}, which makes ${fits}`,
      "config.json and weights are of different models: fetch both again",
    );
  const type = json.alpha_type ?? "float";
  if (type !== "float" && type !== "vector") throw new ConfigError("alpha_type", '"float" or "vector"', type);
  if (activationKind(json, "hidden_act", "silu") !== "silu")
    throw new ConfigError("hidden_act", '"silu", as in all gated layers that were published', json.hidden_act);
  const width = size(text, "hidden_size");
  const heads = headsOf(text, "num_attention_heads", width);
  const config: Partial<GatedConfig> = {
    ...{ form: "idefics", every, dimVisual, heads, dimHead: width / heads, hidden: size(text, "intermediate_size") },
    ...{ headNorm: flag(json, "qk_layer_norms", false), vectorGates: type === "vector", eps: number(text, "rms_norm_eps") },
    onlyAttendImmediateMedia: true,
  };
  const place = (name: string) => {
    const [index, ...rest] = name.split(".");
    return `model.layers.${Number(index) * every}.gated_cross_attn.${rest.join(".")}`;
  };
  return { kind: "gated-cross-attention", on: "llm", config, source: renamed(gated, place) };
}

/** The rows of added tokens, which train alone; the tables have them already. */
function addedRows(json: Json, source: WeightSource): PublishedAdapter[] {
  const added = json.additional_vocab_size ?? 0;
  const rest = `${IDEFICS.body}.embed_tokens.additional_embedding.weight`;
  const stored = source.has(rest) ? source.entry(rest).shape[0] : 0;
  if (stored !== added)
    throw new ConfigError(
      "additional_vocab_size",
      `${stored}, as in ${source.path}`,
      added,
      "config.json and weights are of different models: fetch both again",
    );
  if (!stored) return [];
  const first = size(json, "vocab_size", 32000);
  const config: TrainedTokensConfig = {
    tokenIndices: Array.from({ length: stored }, (_, i) => first + i),
    targetModules: ["embed_tokens", "lm_head"],
  };
  return [{ name: "tokens", kind: "trained-tokens", on: "llm", config }];
}
