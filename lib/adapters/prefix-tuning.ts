// Prefix tuning (arXiv 2101.00190) in PEFT's files: keys and values before those of every sequence, learned as they are, or made of fewer numbers by two
// linear layers. PEFT's file holds what these give, and no more; beside that ours has the layers, so that a run goes on from it.
import { noGrad } from "../core/autograd.js";
import { is, type Schema, shown } from "../core/checks.js";
import { keep, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { CausalDecoder } from "../models/causal-decoder.js";
import { innermost, type MakeWrap, places } from "../nn/layer.js";
import { Linear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import type { Stored } from "../nn/overwriting.js";
import { PrefixedAttention } from "../nn/prefixed-attention.js";
import { isAttending } from "../nn/prompted-attention.js";
import type { Weights } from "../nn/weights.js";
import { activation } from "../ops/index.js";
import { CONFIG } from "./adapter-files.js";
import { type AdapterKind, type AdapterPlan, type Attached, adapterFault, completed, type Json } from "./kind.js";

export interface PrefixTuningConfig {
  /** Places before every sequence; each counts as a token. */
  tokens: number;
  /** Are keys and values made of rows as wide as a layer's keys, through two linear layers? */
  projection: boolean;
  /** Between these two. */
  hidden: number;
  baseModel: string | undefined;
}

const FLAT = "prompt_embeddings";
const ENCODER = "prompt_encoder";

/** rows (n,E) → tanh(rows·W₀ᵀ + b₀)·W₂ᵀ + b₂ (n,2·L·K·D). */
class PrefixEncoder extends Module {
  rows: Tensor; // (n,E)
  inner: Linear;
  outer: Linear;
  constructor(at: Weights, tokens: number, width: number, hidden: number, total: number) {
    super();
    this.rows = at.at("embedding").parameter("weight", [tokens, width], { normal: 1 });
    this.inner = new Linear(at.at("transform").at(0), width, hidden);
    this.outer = new Linear(at.at("transform").at(2), hidden, total);
  }
  protected override stateName(field: string): string {
    return { rows: "embedding.weight", inner: "transform.0", outer: "transform.2" }[field] ?? super.stateName(field);
  }
  forward(): Tensor {
    return this.outer.forward(activation(this.inner.forward(this.rows), "tanh"));
  }
}

class Prefix extends Module {
  promptEmbeddings: Tensor | undefined; // (n,2·L·K·D)
  promptEncoder: PrefixEncoder | undefined;
  /** What the encoder gives, while nothing trains. */
  #given: Tensor | undefined;

  constructor(at: Weights, { tokens, projection, hidden }: PrefixTuningConfig, width: number, layers: number) {
    super();
    const total = 2 * layers * width;
    const made = projection && (!at.checkpoint || at.has(`${ENCODER}.embedding.weight`));
    if (made) {
      if (at.has(FLAT)) at.take(FLAT); // follows from the others
      this.promptEncoder = new PrefixEncoder(at.at(ENCODER), tokens, width, hidden, total);
    } else this.promptEmbeddings = at.parameter(FLAT, [tokens, total], { normal: 1 });
  }

  /** (n,2·L·K·D): of each place, the key and the value of each layer in turn. */
  get flat(): Tensor {
    const { promptEncoder } = this;
    if (!promptEncoder) return this.promptEmbeddings as Tensor;
    if (promptEncoder.rows.requiresGrad) return promptEncoder.forward();
    return this.given();
  }
  /** The same as it is now, off the tape. */
  given(): Tensor {
    if (this.promptEncoder?.rows.requiresGrad) this.settle();
    this.#given ??= keep(noGrad(() => scope(() => (this.promptEncoder as PrefixEncoder).forward())));
    return this.#given;
  }
  settle(): void {
    this.#given?.dispose();
    this.#given = undefined;
  }
  override dispose(): void {
    super.dispose();
    this.settle();
  }
}

const fail = adapterFault("PREFIX_TUNING");
const schema: Schema = {
  tokens: is.integer(1),
  projection: is.flag,
  hidden: is.upTo(65_536, 1),
  baseModel: { wanted: "a text", fits: (v) => typeof v === "string" },
};
const DEFAULTS: PrefixTuningConfig = { tokens: 20, projection: false, hidden: 512, baseModel: undefined };
const OTHERS = {
  numVirtualTokens: 'did you mean "tokens"?',
  prefixProjection: 'did you mean "projection"?',
  encoderHiddenSize: 'did you mean "hidden"?',
  initWeights: "fresh prefixes are drawn at random",
};

export const PREFIX_TUNING: AdapterKind<PrefixTuningConfig> = {
  name: "prefix-tuning",
  schema,
  files: { weights: "adapter_model.safetensors", config: CONFIG },
  complete: (options) => completed({ name: "PREFIX_TUNING", schema, fail }, options, DEFAULTS, OTHERS),
  plan,
  read,
  write: ({ tokens, projection, hidden, baseModel }): Json => ({
    peft_type: "PREFIX_TUNING",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: baseModel ?? null,
    inference_mode: true,
    num_virtual_tokens: tokens,
    num_transformer_submodules: 1,
    prefix_projection: projection,
    encoder_hidden_size: projection ? hidden : null,
  }),
  key: (_, name) => name,
  *stored({ shared }: Attached<PrefixTuningConfig>): Generator<Stored> {
    const prefix = shared as Prefix;
    if (prefix.promptEncoder) yield { keys: [FLAT], tensor: prefix.given() };
    for (const [name, tensor] of prefix.namedParameters()) yield { keys: [name], tensor };
  },
  moved: ({ shared }) => (shared as Prefix).settle(),
  fail,
};

function plan(model: Module, config: PrefixTuningConfig, at: Weights, owner: string): AdapterPlan {
  if (!(model instanceof CausalDecoder)) throw fail("a language model", `a ${model.constructor.name}`);
  const { tokens } = config;
  const { kvHeads, headDim, maxPositions } = model.config;
  if (tokens >= maxPositions) throw fail(`fewer tokens than the context of ${maxPositions}`, `${tokens}`);
  const layers = [...places(model)].filter(([, module]) => isAttending(innermost(module)));
  const shared = new Prefix(at, config, kvHeads * headDim, layers.length);
  const wraps = layers.map(([path], i): [string, MakeWrap] => [
    path,
    (base) => {
      if (!isAttending(base))
        throw fail(
          "attention that can be asked step by step",
          `what another adapter put there, a ${base.constructor.name}; put the prefix on first, or take that one off`,
        );
      return new PrefixedAttention(base, owner, i, () => shared.settle());
    },
  ]);
  const keys = () => shared.flat.reshape([1, tokens, -1]);
  return { wraps, shared, lead: { length: tokens, make: () => ({ length: tokens, keys: keys() }) } };
}

function read(json: Json): PrefixTuningConfig {
  if (json.peft_type !== "PREFIX_TUNING") throw fail('peft_type "PREFIX_TUNING"', shown(json.peft_type));
  const { num_virtual_tokens: tokens, num_transformer_submodules: parts, base_model_name_or_path: base } = json;
  const { prefix_projection: projection, encoder_hidden_size: hidden } = json;
  if (!is.integer(1).fits(tokens)) throw fail(`num_virtual_tokens to be ${is.integer(1).wanted}`, shown(tokens));
  if ((parts ?? 1) !== 1) throw fail("num_transformer_submodules 1, a decoder alone", shown(parts));
  if (json.modules_to_save) throw fail("no modules_to_save, which are not supported here", shown(json.modules_to_save));
  if (typeof (projection ?? false) !== "boolean") throw fail("prefix_projection to be true or false", shown(projection));
  if (projection && hidden != null && !is.upTo(65_536, 1).fits(hidden))
    throw fail(`encoder_hidden_size to be ${is.upTo(65_536, 1).wanted}`, shown(hidden));
  return PREFIX_TUNING.complete({
    tokens: tokens as number,
    projection: projection === true,
    ...(projection === true && hidden != null && { hidden: hidden as number }),
    ...(typeof base === "string" && { baseModel: base }),
  });
}
