// Otter's folders (github.com/Luodian/Otter: OtterForConditionalGeneration), and OpenFlamingo's that its code wrote (FlamingoForConditionalGeneration): a
// language model whose layers each stand beside a gated one, CLIP's tower and a resampler, under names of their own. Each of a file's tensors belongs to
// exactly one of them.
import type { GatedConfig } from "../../adapters/gated.js";
import type { WeightSource } from "../../io/checkpoint.js";
import { left, renamed, type View } from "../../io/views.js";
import { completeBridge } from "../../models/bridges/index.js";
import { ConfigError, type Json, section, size, storedDType } from "../../models/config.js";
import { besideGated, textConfig } from "../../models/decoder.js";
import { widthOf } from "../../models/encoder-config.js";
import { describe, StateError } from "../../nn/module.js";
import { flamingo } from "../flamingo.js";
import { otter } from "../otter.js";
import type { Published, PublishedAdapter } from "../published.js";

const OTTER = { name: "otter", llm: "lang_encoder", tower: "vision_encoder.vision_model", bridge: "perceiver" };
/** "model.layers.3.gated_cross_attn_layer.attn.to_q.weight" of a LLaMA, "transformer.blocks.3.…" of an MPT. */
const GATED = /^(?:.+\.)?(\d+)\.gated_cross_attn_layer\.(.+)$/;
/** They follow from the configuration. */
const BUFFERS = /(^|\.)(position_ids|rotary_emb\.inv_freq)$/;
/** Of its classes, which are never told otherwise; no shape shows it. */
const HEADS = 8;

interface Parts {
  llm: View;
  tower: View;
  bridge: View;
  gated: View;
}

/** Throws E_CONFIG where the configuration contradicts itself or the weights, E_STATE where the names are not Otter's. */
export function otterPieces(source: WeightSource, json: Json): Published {
  const { llm, tower, bridge, gated } = partsOf(source);
  const system = json.model_type === "flamingo" ? flamingo : otter;
  const vision = section(json, "vision_config");
  const dim = widthOf(vision, "hidden_size", 1024);
  const dtype = storedDType(json) === "f32" ? "float32" : "bfloat16";
  return {
    system: system.name,
    layout: OTTER.name,
    llm: { source: llm, config: textConfig(json) },
    written: system.written,
    addedTokens: system.addedTokens,
    media: {
      image: {
        encoder: { source: tower, config: { dtype, ...vision, model_type: "clip_vision_model", architectures: ["CLIPVisionModel"] } },
        bridge,
        setup: { projector: resamplerOf(bridge, dim), layer: -1, select: "patch" },
        rows: bridge.entry("resampler.latents").shape[0] as number,
        token: system.written.id as string,
      },
    },
    adapters: [gatedOf(json, gated, dim)],
  };
}

/** Of a folder, from its names alone. */
export function otterLayout(source: WeightSource): string {
  partsOf(source);
  return OTTER.name;
}

function partsOf(source: WeightSource): Parts {
  const below = (prefix: string, rename: (name: string) => string | undefined) =>
    renamed(source, (name) => (name.startsWith(`${prefix}.`) && !BUFFERS.test(name) ? rename(name.slice(prefix.length + 1)) : undefined));
  const parts = {
    llm: besideGated(source),
    tower: below(OTTER.tower, (name) => name),
    bridge: below(OTTER.bridge, (name) => `resampler.${name.replace(/^(layers\.\d+)\.(feed_forward\.)?/, inBlock)}`),
    gated: below(OTTER.llm, (name) => placed(GATED.exec(name))),
  };
  const wanted: [View, string, string][] = [
    [parts.tower, "embeddings.class_embedding", `${OTTER.tower}.embeddings.class_embedding`],
    [parts.bridge, "resampler.latents", `${OTTER.bridge}.latents`],
  ];
  const missing = wanted.flatMap(([view, name, full]) => (view.has(name) ? [] : [full]));
  if (![...parts.gated.names()].length) missing.push(`${OTTER.llm}.*.gated_cross_attn_layer.*`);
  const strangers = left(source, Object.values(parts)).filter((name) => !BUFFERS.test(name));
  if (missing.length || strangers.length)
    throw new StateError(`the tensors of Otter, the layout ${OTTER.name}, in ${source.path}`, describe(missing, strangers));
  return parts;
}

/** A block of the resampler is attention (0) and feed-forward (1) here. */
const inBlock = (_: string, block: string, forward?: string): string => `${block}.${forward ? 1 : 0}.`;
const placed = (found: RegExpExecArray | null): string | undefined =>
  found ? `model.layers.${found[1]}.gated_cross_attn.${(found[2] as string).replace(/^feed_forward\./, "ff.")}` : undefined;

/** Heads and their width, from a matrix that makes queries. */
function headsOf(view: View, name: string): { heads: number; dimHead: number } {
  const inner = view.entry(name).shape[0] as number;
  if (inner % HEADS) throw new StateError(`"${name}" of ${HEADS} heads, as in all of Otter's, in ${view.path}`, `${inner} rows`);
  return { heads: HEADS, dimHead: inner / HEADS };
}

function resamplerOf(bridge: View, dim: number) {
  const at = "resampler.";
  const blocks = new Set(Array.from(bridge.names()).flatMap((name) => /^resampler\.layers\.(\d+)\./.exec(name)?.[1] ?? []));
  if (bridge.has(`${at}media_time_embs`))
    throw new StateError(`a resampler without a table that tells media apart, in ${bridge.path}`, "perceiver.media_time_embs");
  const frames = bridge.has(`${at}frame_embs`) ? (bridge.entry(`${at}frame_embs`).shape[0] as number) : 0;
  const setup = {
    ...({ type: "resampler", form: "openflamingo", gives: "beside", normalize: false } as const),
    layers: blocks.size,
    tokens: bridge.entry(`${at}latents`).shape[0] as number,
    ...headsOf(bridge, `${at}layers.0.0.to_q.weight`),
  };
  return completeBridge(setup, dim, frames);
}

function gatedOf(json: Json, gated: View, dimVisual: number): PublishedAdapter {
  const every = size(json, "cross_attn_every_n_layers", 4);
  const layers = [...new Set(Array.from(gated.names(), (name) => Number(name.split(".")[2])))].sort((a, b) => a - b);
  const stray = layers.findIndex((layer, i) => layer !== (i + 1) * every - 1);
  if (stray >= 0)
    throw new ConfigError(
      "cross_attn_every_n_layers",
      `such that a gated layer stands before layer ${layers[stray]}, as in the weights`,
      every,
      "config.json and weights are of different models: fetch both again",
    );
  const first = `model.layers.${every - 1}.gated_cross_attn`;
  const [wide, width] = gated.entry(`${first}.ff.1.weight`).shape as [number, number];
  const config: Partial<GatedConfig> = {
    ...{ form: "openflamingo", every, dimVisual, ffMult: wide / width, onlyAttendImmediateMedia: true },
    ...headsOf(gated, `${first}.attn.to_q.weight`),
  };
  return { kind: "gated-cross-attention", on: "llm", config, source: gated };
}
