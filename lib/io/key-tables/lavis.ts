// LAVIS' checkpoints of BLIP-2 and InstructBLIP (github.com/salesforce/LAVIS): the queries, the Q-Former, the norm over the tower's rows and the linear layer to the
// language model, which become a bridge; with the heads of the first stage where it wrote them. A folder with MiniGPT-4's layer beside a Q-Former's file is its bridge.
import type { Json, KeyTable, Known, Rule } from "./table.js";

const LAYER = "qformer.encoder.layer";
/** Of all that were published; no shape shows it. */
const HEAD = 64;

/** The bridge's setup, as anymal.json has it of a kind of media. Of the first stage the layer to a language model is still to be made. */
function projector(known: Known): Readonly<Record<string, Json>> {
  const first = !known.has("language_projection.weight");
  const [width, layers] = [known.size("query_tokens", 2), known.count(`${LAYER}.*.attention.attention.query.weight`)];
  if (width % HEAD) known.fail(`"query_tokens" of heads of ${HEAD}`, `a width of ${width}`);
  const cross = Array.from({ length: layers }, (_, i) => i).filter((i) => known.has(`${LAYER}.${i}.crossattention.attention.key.weight`));
  const every = cross[1] ?? layers;
  const stray = cross.find((layer, i) => layer !== i * every);
  if (stray !== undefined || cross.length !== Math.ceil(layers / every))
    known.fail(`layers of which every ${every}. looks at the medium`, `[${cross}]`);
  const read = first ? width : known.size("language_projection.weight", 1);
  if (read !== width)
    known.fail(
      `a layer to the language model that reads the Q-Former's rows of ${width}`,
      `one that reads ${read}${read % 1408 ? "" : ": four patches at a time, of MiniGPT-4 with Llama-2, which has no Q-Former"}`,
    );
  const words = known.has("qformer.embeddings.word_embeddings.weight");
  return {
    "projector.json": {
      ...{ type: "q-former", queries: known.size("query_tokens", 1), layers, width, heads: width / HEAD },
      ...{ hidden: known.size(`${LAYER}.0.intermediate_query.dense.weight`, 0), every, activation: "gelu", eps: 1e-12 },
      text: known.has(`${LAYER}.0.intermediate.dense.weight`),
      ...(words && {
        vocabulary: known.size("qformer.embeddings.word_embeddings.weight", 0),
        positions: known.size("qformer.embeddings.position_embeddings.weight", 0),
        padding: 0,
      }),
      normalize: known.has("input.weight") ? "layernorm" : false,
      dim: known.size(`${LAYER}.0.crossattention.attention.key.weight`, 1),
      ...(first && { output: "fresh" }),
    },
  };
}

const rules = (norm: string, words: string): Rule[] => [
  { from: /^(visual_encoder|llm_model|llama_model|opt_model|t5_model)\..*$/, to: null },
  { from: /^Qformer\.bert\.embeddings\.position_ids$/, to: null },
  { from: /^Qformer\.bert\.embeddings\.LayerNorm\.(weight|bias)$/, to: `${norm}.$1` },
  { from: /^Qformer\.bert\.embeddings\.(word|position)_embeddings\.weight$/, to: `${words}.$1_embeddings.weight` },
  { from: /^Qformer\.bert\.encoder\.layer\.(\d+)\.((?:cross)?attention)\.self\.(.+)$/, to: `${LAYER}.$1.$2.attention.$3` },
  { from: /^Qformer\.bert\.encoder\.layer\.(.+)$/, to: `${LAYER}.$1` },
  { from: /^Qformer\.cls\.predictions\.decoder\..*$/, to: null }, // the table of words once more
  { from: /^Qformer\.cls\.(.+)$/, to: "cls.$1" },
  { from: /^(?:llm|llama|opt|t5)_proj\.(.+)$/, to: "language_projection.$1" },
  { from: /^ln_vision\.(.+)$/, to: "input.$1" },
  { from: /^vision_proj\.(.+)$/, to: "vision_projection.$1" },
  { from: /^text_proj\.(.+)$/, to: "text_projection.$1" },
];

const BRIDGE = /^(input|query_tokens|qformer|language_projection)(\.|$)/;
const MARKS = [/^query_tokens$/, /^Qformer\.bert\.encoder\.layer\.0\.crossattention\.self\.query\.weight$/];
const fileOf = (name: string): string => (BRIDGE.test(name) ? "projector.safetensors" : "stage-one.safetensors");

export const LAVIS: readonly KeyTable[] = [
  {
    name: "lavis-instructblip",
    system: "LAVIS' InstructBLIP",
    marks: [...MARKS, /^Qformer\.bert\.embeddings\.word_embeddings\.weight$/, /^llm_proj\.weight$/],
    rules: rules("qformer.embeddings.layernorm", "qformer.embeddings"),
    fileOf,
    files: projector,
  },
  {
    name: "minigpt4-qformer",
    system: "MiniGPT-4 with a Q-Former",
    marks: [...MARKS, /^llama_proj\.weight$/],
    rules: [{ from: /^(opt|t5)_proj\..*$/, to: null }, ...rules("qformer.layernorm", "embeddings")],
    fileOf,
    files: (known) => {
      const { "projector.json": setup } = projector(known);
      return { "projector.json": { ...setup, frozen: true } };
    },
  },
  { name: "lavis-blip2", system: "LAVIS' BLIP-2", marks: MARKS, rules: rules("qformer.layernorm", "embeddings"), fileOf, files: projector },
];
