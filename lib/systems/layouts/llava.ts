// LLaVA's checkpoints, version 1 (one linear layer) and 1.5 (an MLP): the same weights go under five sets of names, four of transformers and the original
// one. Each of a file's tensors belongs to exactly one part; the first set of names under which nothing is missing and nothing is left over is the file's.
import type { WeightSource } from "../../io/checkpoint.js";
import { left, renamed, type View, within } from "../../io/views.js";
import { ConfigError, type Json, section, storedDType } from "../../models/config.js";
import { type DecoderPlace, decoderView, textConfig } from "../../models/decoder.js";
import { describe, StateError } from "../../nn/module.js";
import type { Published } from "../published.js";
import { isOriginal, llavaBridge, llavaFeatures, originalText } from "./llava-config.js";

interface Names {
  name: string;
  /** Who writes it. */
  by: string;
  llm?: DecoderPlace;
  /** Where the tower's names begin; none: it is a checkpoint of its own. */
  tower?: string;
  bridge: string;
}

const HUGGING_FACE: readonly Names[] = [
  {
    name: "llava-hf",
    by: "transformers to 4.51, and what it saves by default since",
    llm: { body: "language_model.model", head: "language_model.lm_head" },
    tower: "vision_tower.vision_model",
    bridge: "multi_modal_projector",
  },
  {
    name: "llava-hf-4.52",
    by: "transformers from 4.52 in memory",
    llm: { body: "model.language_model", head: "lm_head" },
    tower: "model.vision_tower.vision_model",
    bridge: "model.multi_modal_projector",
  },
  {
    name: "llava-hf-5.6",
    by: "transformers from 5.6 in memory, whose CLIP is flat",
    llm: { body: "model.language_model", head: "lm_head" },
    tower: "model.vision_tower",
    bridge: "model.multi_modal_projector",
  },
  {
    name: "llava-hf-5-fresh",
    by: "transformers from 5.6, of a model that was made from a configuration",
    llm: { body: "language_model.model", head: "language_model.lm_head" },
    tower: "vision_tower",
    bridge: "multi_modal_projector",
  },
];
const ORIGINAL: Names = {
  name: "llava-original",
  by: "LLaVA's own code, with the tower in a checkpoint of its own",
  llm: { body: "model", head: "lm_head" },
  bridge: "model.mm_projector",
};

/** They follow from the configuration. */
const BUFFERS = /(^|\.)(position_ids|rotary_emb\.inv_freq)$/;

/** What a first stage writes: the bridge alone. */
const STAGE_ONE: Names = { name: "llava-original-projector", by: "LLaVA's own first stage", bridge: "model.mm_projector" };
export const LLAVA_LAYOUTS: readonly { name: string; by: string }[] = [...HUGGING_FACE, ORIGINAL, STAGE_ONE];

interface Parts {
  names: Names;
  llm: View | undefined;
  tower: View | undefined;
  bridge: View;
}

/** Throws E_CONFIG where the configuration contradicts itself or the processor's, E_STATE where the names are those of no known layout. */
export function llavaPieces(source: WeightSource, json: Json, processor: Json = {}): Published {
  const original = isOriginal(json);
  const { names, llm, tower, bridge } = original ? partsOf(source, [ORIGINAL, STAGE_ONE]) : partsOf(source, HUGGING_FACE);
  const features = llavaFeatures(json, processor);
  const { setup, renames } = llavaBridge(json, bridge, features.dim);
  const named = json.mm_vision_tower ?? json.vision_tower;
  if (!tower && typeof named !== "string") throw new ConfigError("mm_vision_tower", "the folder or the name of the image tower", named);
  return {
    system: setup.type === "linear" ? "llava" : "llava-1.5",
    layout: names.name,
    llm: llm
      ? { source: llm, config: original ? originalText(json) : textConfig(json) }
      : { named: typeof json._name_or_path === "string" ? json._name_or_path : undefined },
    media: {
      image: {
        encoder: tower
          ? { source: tower, config: { dtype: storedDType(json) === "f32" ? "float32" : "bfloat16", ...section(json, "vision_config") } }
          : { named: named as string },
        bridge: renamed(bridge, renames),
        setup: { projector: setup, layer: features.layer, select: features.select, ...(features.pad && { pad: true }) },
        ...(features.rows !== undefined && { rows: features.rows }),
        token: features.token,
        ...(features.id !== undefined && { id: features.id }),
      },
    },
  };
}

/** Of a folder, from its names alone. */
export const llavaLayout = (source: WeightSource, json: Json): string =>
  partsOf(source, isOriginal(json) ? [ORIGINAL, STAGE_ONE] : HUGGING_FACE).names.name;

function partsOf(source: WeightSource, candidates: readonly Names[]): Parts {
  let best: { misfit: string; off: number; name: string } | undefined;
  for (const names of candidates) {
    const parts = {
      names,
      llm: names.llm && decoderView(source, names.llm),
      tower: names.tower === undefined ? undefined : within(source, names.tower),
      bridge: within(source, names.bridge),
    };
    const views = [parts.llm, parts.bridge, parts.tower].filter((view) => view !== undefined);
    const missing = [
      ...(!parts.llm || parts.llm.has("model.embed_tokens.weight") ? [] : [`${names.llm?.body}.embed_tokens.weight`]),
      ...([...parts.bridge.names()].length ? [] : [`${names.bridge}.*`]),
      ...(parts.tower && !/^embeddings\./m.test([...parts.tower.names()].join("\n")) ? [`${names.tower}.embeddings.*`] : []),
    ];
    const strangers = left(source, views).filter((name) => !BUFFERS.test(name));
    if (!missing.length && !strangers.length) return parts;
    const off = missing.length * 1e6 + strangers.length;
    if (!best || off < best.off) best = { misfit: describe(missing, strangers), off, name: names.name };
  }
  throw new StateError(
    `the tensors of LLaVA under one of the layouts ${candidates.map(({ name }) => name).join(", ")} in ${source.path}`,
    `none of them: the nearest, ${best?.name}, ${best?.misfit}`,
  );
}
