// OpenFlamingo's own checkpoints (github.com/mlfoundations/open_flamingo): checkpoint.pt has what was trained, the resampler, the gated layers and the
// language model's embedding. They become an adapter's folder, with the resampler as a bridge beside it.
import type { Json, KeyTable, Known } from "./table.js";

const GATED = /^model\.layers\.(\d+)\.gated_cross_attn\.attn_gate$/;
/** Of its class, where it is not told otherwise; no shape shows it. */
const HEADS = 8;

function heads(known: Known, name: string): { heads: number; dimHead: number } {
  const inner = known.size(name, 0);
  if (inner % HEADS) known.fail(`"${name}" of ${HEADS} heads`, `${inner} rows`);
  return { heads: HEADS, dimHead: inner / HEADS };
}

/** adapter_config.json. A layer has a gated one where its number and one more is a multiple of `every`. */
function gated(known: Known): Json {
  const layers = [...known.shapes.keys()].flatMap((name) => GATED.exec(name)?.[1] ?? []).map(Number);
  const every = Math.min(...layers) + 1;
  const first = `model.layers.${every - 1}.gated_cross_attn`;
  const stray = layers.find((layer) => (layer + 1) % every);
  if (stray !== undefined) known.fail(`gated layers before every ${every} layers`, `one before layer ${stray}`);
  return {
    kind: "gated-cross-attention",
    form: "openflamingo",
    every,
    dimVisual: known.size(`${first}.attn.to_kv.weight`, 1),
    ...heads(known, `${first}.attn.to_q.weight`),
    ffMult: known.size(`${first}.ff.1.weight`, 0) / known.size(`${first}.ff.1.weight`, 1),
    onlyAttendImmediateMedia: true,
  };
}

/** The bridge's setup, as anymal.json has it of a kind of media. */
function projector(known: Known): Json {
  if (known.has("resampler.media_time_embs")) known.fail("a resampler without a table that tells media apart", "media_time_embs");
  return {
    type: "resampler",
    form: "openflamingo",
    layers: known.count("resampler.layers.*.0.to_q.weight"),
    tokens: known.size("resampler.latents", 0),
    ...heads(known, "resampler.layers.0.0.to_q.weight"),
    frames: known.has("resampler.frame_embs") ? known.size("resampler.frame_embs", 0) : 0,
    normalize: false,
    dim: known.size("resampler.latents", 1),
    gives: "beside",
  };
}

const PLACE = "model.layers.$1.gated_cross_attn.$2";

export const openFlamingo: KeyTable = {
  name: "open-flamingo",
  system: "OpenFlamingo",
  marks: [
    /^perceiver\.latents$/,
    /^perceiver\.layers\.0\.0\.to_kv\.weight$/,
    /^lang_encoder\..*gated_cross_attn_layers?\.(\d+\.)?attn_gate$/,
  ],
  rules: [
    { from: /^perceiver\.(.+)$/, to: "resampler.$1" },
    { from: /^lang_encoder\.(?:.+\.)?gated_cross_attn_layers\.(\d+)\.(.+)$/, to: PLACE },
    // The same tensors once more, in the layers that they stand before.
    { from: /^lang_encoder\.(?:.+\.)?(\d+)\.gated_cross_attn_layer\.(.+)$/, to: PLACE },
    { from: /^lang_encoder\.(?:.+\.)?(?:wte|embed_tokens)\.weight$/, to: "embed_tokens.weight" },
    { from: /^(lang_encoder|vision_encoder)\..*$/, to: null },
  ],
  fileOf: (name) =>
    name.startsWith("resampler.")
      ? "projector.safetensors"
      : name.startsWith("model.")
        ? "adapter_model.safetensors"
        : "embedding.safetensors",
  files: (known) => ({ "adapter_config.json": gated(known), "projector.json": projector(known) }),
};
