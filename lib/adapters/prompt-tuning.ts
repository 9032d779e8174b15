// Prompt tuning (arXiv 2104.08691) in PEFT's files: learned rows before the embeddings of every sequence, and nothing else.
import { is, type Schema, shown } from "../core/checks.js";
import type { Tensor } from "../core/tensor.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { Module } from "../nn/module.js";
import type { Weights } from "../nn/weights.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, adapterFault, completed } from "./kind.js";

export interface PromptTuningConfig {
  /** Rows before every sequence; each takes the place of a token. */
  tokens: number;
  baseModel: string | undefined;
}

class Prompt extends Module {
  promptEmbeddings: Tensor; // (n,C)
  constructor(at: Weights, tokens: number, width: number) {
    super();
    this.promptEmbeddings = at.parameter("prompt_embeddings", [tokens, width], { normal: 1 });
  }
}

const fail = adapterFault("PROMPT_TUNING");
const schema: Schema = { tokens: is.integer(1), baseModel: { wanted: "a text", fits: (v) => typeof v === "string" } };

export const PROMPT_TUNING: AdapterKind<PromptTuningConfig> = {
  name: "prompt-tuning",
  schema,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete: (options) => completed({ name: "PROMPT_TUNING", schema, fail }, options, { tokens: 20, baseModel: undefined }),
  plan(model, { tokens }, at) {
    if (!(model instanceof CausalDecoder)) throw fail("a language model", `a ${model.constructor.name}`);
    const { width } = model;
    const { maxPositions } = model.config;
    if (tokens >= maxPositions) throw fail(`fewer tokens than the context of ${maxPositions}`, `${tokens}`);
    const shared = new Prompt(at, tokens, width);
    const rows = () => shared.promptEmbeddings.reshape([1, tokens, width]);
    return { wraps: [], shared, lead: { length: tokens, make: () => ({ length: tokens, rows: rows() }) } };
  },
  read(json) {
    if (json.peft_type !== "PROMPT_TUNING") throw fail('peft_type "PROMPT_TUNING"', shown(json.peft_type));
    const { num_virtual_tokens: tokens, num_transformer_submodules: parts, base_model_name_or_path: base } = json;
    if (!is.integer(1).fits(tokens)) throw fail(`num_virtual_tokens to be ${is.integer(1).wanted}`, shown(tokens));
    if ((parts ?? 1) !== 1) throw fail("num_transformer_submodules 1, a decoder alone", shown(parts));
    if (json.modules_to_save) throw fail("no modules_to_save, which are not supported here", shown(json.modules_to_save));
    return PROMPT_TUNING.complete({ tokens: tokens as number, ...(typeof base === "string" && { baseModel: base }) });
  },
  write: ({ tokens, baseModel }) => ({
    peft_type: "PROMPT_TUNING",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel ?? null,
    inference_mode: true,
    num_virtual_tokens: tokens,
    num_transformer_submodules: 1,
    prompt_tuning_init: "RANDOM",
  }),
  key: (_, name) => name,
  fail,
};
