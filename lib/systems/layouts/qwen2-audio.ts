// Qwen2-Audio (arXiv 2407.10759): Whisper's encoder with pooled rows, one linear layer, a Qwen2. Its tensors go under three sets of names, all of
// transformers; each belongs to exactly one part, and the first set under which nothing is missing and nothing left over is the file's.
import type { WeightSource } from "../../io/checkpoint.js";
import { left, renamed, type View, within } from "../../io/views.js";
import { completeBridge } from "../../models/bridges/index.js";
import { ConfigError, type Json, section, size, storedDType } from "../../models/config.js";
import { type DecoderPlace, decoderView, textConfig } from "../../models/decoder.js";
import { describe, StateError } from "../../nn/module.js";
import type { Published } from "../published.js";

interface Names {
  name: string;
  llm: DecoderPlace;
  tower: string;
  bridge: string;
}

const NAMES: readonly Names[] = [
  {
    name: "qwen2-audio-hf",
    llm: { body: "language_model.model", head: "language_model.lm_head" },
    tower: "audio_tower",
    bridge: "multi_modal_projector",
  },
  {
    name: "qwen2-audio-hf-5",
    llm: { body: "model.language_model", head: "lm_head" },
    tower: "model.audio_tower",
    bridge: "model.multi_modal_projector",
  },
  {
    name: "qwen2-audio-hf-5-fresh",
    llm: { body: "language_model.model.model", head: "language_model.lm_head" },
    tower: "audio_tower",
    bridge: "multi_modal_projector",
  },
];
const BUFFERS = /(^|\.)rotary_emb\.inv_freq$/;

interface Parts {
  names: Names;
  llm: View;
  tower: View;
  bridge: View;
}

/** Throws E_CONFIG where the configuration is another's, E_STATE where the names are those of no known layout. */
export function qwen2AudioPieces(source: WeightSource, json: Json, processor: Json = {}): Published {
  const { names, llm, tower, bridge } = partsOf(source);
  const audio = section(json, "audio_config");
  const text = textConfig({ ...json, text_config: { model_type: "qwen2", ...section(json, "text_config") } });
  const token = processor.audio_token ?? "<|AUDIO|>";
  if (typeof token !== "string" || !token || token.length > 64)
    throw new ConfigError("audio_token", "a short text, in processor_config.json", token);
  const id = json.audio_token_index ?? json.audio_token_id ?? 151646;
  if (!Number.isInteger(id)) throw new ConfigError("audio_token_index", "an integer", id);
  return {
    system: "anymal",
    layout: names.name,
    llm: { source: llm, config: text },
    media: {
      audio: {
        encoder: {
          source: tower,
          config: { dtype: storedDType(json) === "f32" ? "float32" : "bfloat16", model_type: "qwen2_audio_encoder", ...audio },
        },
        bridge: renamed(bridge, (name) => name.replace(/^linear\./, "proj.")),
        setup: {
          projector: completeBridge({ type: "linear", normalize: false }, size(audio, "d_model", 1280), 0),
          ...{ layer: -1, select: "patch" },
        },
        token,
        id: id as number,
      },
    },
  };
}

/** Of a folder, from its names alone. */
export const qwen2AudioLayout = (source: WeightSource): string => partsOf(source).names.name;

function partsOf(source: WeightSource): Parts {
  let best: { misfit: string; off: number; name: string } | undefined;
  for (const names of NAMES) {
    const parts = {
      names,
      llm: decoderView(source, names.llm),
      tower: within(source, names.tower),
      bridge: within(source, names.bridge),
    };
    const missing = [
      ...(parts.llm.has("model.embed_tokens.weight") ? [] : [`${names.llm.body}.embed_tokens.weight`]),
      ...(parts.tower.has("conv1.weight") ? [] : [`${names.tower}.conv1.weight`]),
      ...(parts.bridge.has("linear.weight") ? [] : [`${names.bridge}.linear.weight`]),
    ];
    const strangers = left(source, [parts.llm, parts.bridge, parts.tower]).filter((name) => !BUFFERS.test(name));
    if (!missing.length && !strangers.length) return parts;
    const off = missing.length * 1e6 + strangers.length;
    if (!best || off < best.off) best = { misfit: describe(missing, strangers), off, name: names.name };
  }
  throw new StateError(
    `the tensors of Qwen2-Audio under one of the layouts ${NAMES.map(({ name }) => name).join(", ")} in ${source.path}`,
    `none of them: the nearest, ${best?.name}, ${best?.misfit}`,
  );
}
