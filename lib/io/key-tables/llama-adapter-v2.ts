// The files that LLaMA-Adapter V2 was released as (github.com/OpenGVLab/LLaMA-Adapter): BIAS-7B.pth, whose own path for pictures becomes a bridge beside the
// adapter, and the tuning of 65B for chats, norms, scales and biases alone. Meta's rows of q and k turn in neighbouring pairs and ours in halves, their biases
// with them; how many heads there are says params.json of the LLaMA that was tuned.
import { llama } from "./llama.js";
import type { Json, KeyTable, Known, Rule } from "./table.js";

const LAYER = /^(?:llama\.)?layers\.(\d+)\./.source;
const LINEAR = {
  ...{ "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj", "attention.wv": "self_attn.v_proj" },
  ...{ "attention.wo": "self_attn.o_proj", "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj" },
  "feed_forward.w3": "mlp.up_proj",
};
const below = (name: string): RegExp => new RegExp(`${LAYER}${name.replaceAll(".", "\\.")}$`);

/** `wq.bias` as released for pictures, `wq_bias` and `wq_scale` as for chats. */
const vectors = Object.entries(LINEAR).flatMap(([name, to]): Rule[] => [
  {
    from: new RegExp(`${below(name).source.slice(0, -1)}[._]bias$`),
    to: `model.layers.$1.${to}.bias`,
    ...(/w[qk]$/.test(name) && { turned: "heads" as const }),
  },
  { from: below(`${name}_scale`), to: `model.layers.$1.${to}.scale` },
]);
const tuned: readonly Rule[] = [
  ...vectors,
  { from: below("attention_norm.weight"), to: "model.layers.$1.input_layernorm.weight" },
  { from: below("ffn_norm.weight"), to: "model.layers.$1.post_attention_layernorm.weight" },
  { from: /^(?:llama\.)?norm\.weight$/, to: "model.norm.weight" },
  // Of the language model itself, and the picture's encoder, where somebody saved all.
  { from: /^(?:llama\.)?(tok_embeddings|output|layers\.\d+\.(attention|feed_forward)\.w[qkvo123])\.weight$/, to: null },
  { from: /^clip\./, to: null },
];

/** Of its class; no shape shows it. */
const HEADS = 16;
const BRIDGE = /^(clip_proj|clip_proj_norm|visual_query|visual_blocks|visual_proj|visual_proj_norm)\./;
const FIRST = "model.layers.0.self_attn";

function pictures(known: Known): Readonly<Record<string, Json>> {
  const lora = [...known.shapes.keys()].find((name) => /lora_w\w_l1/.test(name));
  if (lora !== undefined)
    known.fail(
      "BIAS-7B.pth, whose prompts go through the same layers as the text",
      `a file with "${lora}": there prompts pass by the LoRA, which is not computed here`,
    );
  if (!known.has(`${FIRST}.q_proj.bias`)) known.fail("biases, of the second stage, as in BIAS-7B.pth", "none, as in CAPTION-7B.pth");
  const [prompts, rows] = [known.size("visual_query.weight", 0), known.size("adapter_query.weight", 0)];
  if (rows % prompts) known.fail(`"adapter_query.weight" of ${prompts} rows a layer`, `${rows} rows`);
  return {
    "adapter_config.json": { kind: "llama-adapter-v2", mode: "multimodal7b", prompts, layers: rows / prompts },
    "projector.json": {
      ...{ type: "query-vit", queries: prompts, layers: known.count("visual_blocks.*.norm1.weight") },
      ...{ width: known.size("visual_query.weight", 1), heads: HEADS, normalize: false },
      ...{ dim: known.size("clip_proj.weight", 1), gives: "beside" },
    },
  };
}

function chat(known: Known): Readonly<Record<string, Json>> {
  if (known.has("adapter_query.weight")) known.fail("norms, biases and scales alone, as released for 65B", "prompts beside them");
  return { "adapter_config.json": { kind: "llama-adapter-v2", mode: "chat65b", prompts: 0, layers: 0 } };
}

const common = { needs: "params.json", ...(llama.numbers && { numbers: llama.numbers }) };

export const LLAMA_ADAPTER_V2_TABLES: readonly KeyTable[] = [
  {
    ...common,
    name: "llama-adapter-v2",
    system: "LLaMA-Adapter V2",
    marks: [/^visual_query\.weight$/, /^adapter_query\.weight$/, below("attention.gate")],
    rules: [{ from: below("attention.gate"), to: "model.layers.$1.self_attn.gate" }, ...tuned],
    fileOf: (name) => (BRIDGE.test(name) ? "projector.safetensors" : "adapter.safetensors"),
    files: pictures,
  },
  {
    ...common,
    name: "llama-adapter-v2-chat",
    system: "LLaMA-Adapter V2 for chats",
    marks: [below("attention.wq_scale"), below("attention.wq_bias"), below("attention_norm.weight")],
    rules: [{ from: below("attention.gate"), to: null }, ...tuned],
    fileOf: () => "adapter.safetensors",
    files: chat,
  },
];
