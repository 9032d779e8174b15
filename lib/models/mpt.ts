// MPT (MosaicML, 2023): no positions but ALiBi's biases, norms without biases, one matrix for queries, keys and values, a plain feed-forward of GELU. The names of
// the fields give the names of a Hugging Face checkpoint.
import { builtInPieces, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { Alibi, alibiSlopes } from "../nn/alibi.js";
import { Embedding } from "../nn/embedding.js";
import { FusedSelfAttention } from "../nn/fused-attention.js";
import type { KVCache } from "../nn/kv-cache.js";
import type { Layer, Plain } from "../nn/layer.js";
import { type LinearLayer, storedLinear } from "../nn/linear.js";
import { Module } from "../nn/module.js";
import { BareLayerNorm } from "../nn/norm.js";
import type { Sequence } from "../nn/sequence.js";
import type { Weights } from "../nn/weights.js";
import { activation, add } from "../ops/index.js";
import { CausalDecoder } from "./causal-decoder.js";
import { type Begun, DecoderBody } from "./decoder-body.js";
import { type DecoderFamily, inPieces } from "./decoder-family.js";
import { checkPretrained, type PretrainedOptions } from "./loading.js";
import { type MptConfig, parseMptConfig } from "./mpt-config.js";
import type { Place } from "./piece.js";
import { checkStored, prefixed, type StoredSize } from "./stored-decoder.js";

const BODY = "transformer";

class MptMlp extends Module {
  upProj: LinearLayer;
  downProj: LinearLayer;

  constructor(at: Weights, width: number, hidden: number) {
    super();
    this.upProj = storedLinear(at.at("up_proj"), width, hidden, { bias: false });
    this.downProj = storedLinear(at.at("down_proj"), hidden, width, { bias: false });
  }
  forward(x: Tensor): Tensor {
    return this.downProj.forward(activation(this.upProj.forward(x), "gelu"));
  }
}

class MptBlock extends Module {
  norm1: BareLayerNorm;
  attn: Layer;
  norm2: BareLayerNorm;
  ffn: MptMlp;

  constructor(at: Weights, index: number, c: MptConfig) {
    super();
    const { hiddenSize: width, heads, headDim, scale, clip, normEps, qkNorm } = c;
    this.norm1 = new BareLayerNorm(at.at("norm_1"), width, normEps);
    this.attn = new FusedSelfAttention(at.at("attn"), index, { width, heads, headDim, scale, clip, ...(qkNorm && { normEps }) });
    this.norm2 = new BareLayerNorm(at.at("norm_2"), width, normEps);
    this.ffn = new MptMlp(at.at("ffn"), width, c.intermediateSize);
  }

  protected override stateName(field: string): string {
    return { norm1: "norm_1", norm2: "norm_2" }[field] ?? super.stateName(field);
  }
  forward(x: Tensor, sequence: Sequence): Tensor {
    return scope(() => {
      const h = add(x, this.attn.forward(this.norm1.forward(x), sequence));
      return add(h, this.ffn.forward(this.norm2.forward(h)));
    });
  }
}

const mptBlock = (at: Weights, i: number, c: MptConfig) => new MptBlock(at.at("blocks").at(i), i, c);

class MptBody extends DecoderBody {
  embedTokens: Plain;
  layers: Layer[];
  normF: BareLayerNorm;
  readonly #alibi: Alibi;

  constructor(at: Weights, c: MptConfig, blocks?: Layer[]) {
    super(at.device);
    this.embedTokens = new Embedding(at.at("wte"), c.vocabSize, c.hiddenSize);
    this.layers = blocks ?? Array.from({ length: c.layers }, (_, i) => mptBlock(at, i, c));
    this.normF = new BareLayerNorm(at.at("norm_f"), c.hiddenSize, c.normEps);
    this.#alibi = new Alibi(at.device, alibiSlopes(c.heads, c.alibiMost));
  }

  protected override stateName(field: string): string {
    return { embedTokens: "wte", layers: "blocks" }[field] ?? super.stateName(field);
  }
  override get takesPositions(): boolean {
    return false;
  }

  /** Biases for this forward's queries, made once for all layers. */
  override begun(x: Tensor, sequence: Sequence, cache: KVCache | undefined): Begun {
    const { range, step, lead, packed } = sequence;
    if (cache) this.#alibi.room(cache.length);
    if (cache && range && step === "decode") return { x, sequence: { ...sequence, bias: this.#alibi.latest(range, cache.length) } };
    const T = packed?.longest ?? (x.shape[1] as number);
    const before = step === "extend" && cache ? cache.filled : lead?.keys ? lead.length : 0;
    return { x, sequence: { ...sequence, ...this.#alibi.between(T, before + T) } };
  }
  ended(h: Tensor): Tensor {
    return this.normF.forward(h);
  }

  override dispose(): void {
    super.dispose();
    this.#alibi.dispose();
  }
}

/** A decoder of the family MPT. AutoModelForCausalLM opens one too. */
export class MptForCausalLM extends CausalDecoder<MptConfig> {
  constructor(at: Weights, config: MptConfig, blocks?: Layer[]) {
    super(at, config, () => new MptBody(at.at(BODY), config, blocks));
  }

  protected override stateName(field: string): string {
    return field === "model" ? BODY : super.stateName(field);
  }

  /** From a folder in Hugging Face layout, as LlamaForCausalLM.fromPretrained. */
  static fromPretrained(folder: string, options: PretrainedOptions): MptForCausalLM {
    checkPretrained("MptForCausalLM.fromPretrained", options);
    return atOnce(MptForCausalLM.inPieces(folder, options));
  }
  /** The same in pieces of a layer. */
  static inPieces(place: Place, options: PretrainedOptions): Pieces<MptForCausalLM> {
    return inPieces(() => MPT, place, options);
  }
}

const TABLE = `${BODY}.wte.weight`;
const UP = `${BODY}.blocks.0.ffn.up_proj.weight`;

export const MPT: DecoderFamily<MptConfig, MptForCausalLM> = {
  parse: parseMptConfig,
  embedding: TABLE,
  named: (checkpoint) => prefixed(checkpoint, BODY, "wte.weight"),
  // transformers' class has four times the width, whatever expansion_ratio says.
  fitted: (config, checkpoint) => {
    const four = 4 * config.hiddenSize;
    const stored = checkpoint.has(UP) && !checkpoint.has(`${UP}.absmax`) ? checkpoint.entry(UP).shape[0] : undefined;
    return stored === four ? { ...config, intermediateSize: four } : config;
  },
  check: (config, checkpoint) =>
    checkStored(checkpoint, {
      layers: `${BODY}.blocks`,
      sample: "attn.Wqkv.weight",
      count: config.layers,
      key: "n_layers",
      tied: config.tieWordEmbeddings,
      sizes: sizes(config),
      names: names(config),
    }),
  built: (at, config) => builtInPieces(layered(at, config)),
};

function sizes(c: MptConfig): StoredSize[] {
  return [
    { key: "vocab_size", name: TABLE, size: c.vocabSize },
    { key: "d_model", name: TABLE, size: c.hiddenSize, dim: 1 },
    { key: "expansion_ratio", name: UP, size: c.intermediateSize, each: c.hiddenSize },
  ];
}

function* names(c: MptConfig): Generator<string> {
  yield TABLE;
  yield `${BODY}.norm_f.weight`;
  if (!c.tieWordEmbeddings) yield "lm_head.weight";
  for (let i = 0; i < c.layers; ++i)
    for (const name of [
      ...(c.qkNorm ? ["attn.q_ln", "attn.k_ln"] : []),
      "norm_1",
      "attn.Wqkv",
      "attn.out_proj",
      "norm_2",
      "ffn.up_proj",
      "ffn.down_proj",
    ])
      yield `${BODY}.blocks.${i}.${name}.weight`;
}

function* layered(at: Weights, config: MptConfig): Pieces<MptForCausalLM> {
  const body = at.at(BODY);
  const blocks: MptBlock[] = [];
  for (let i = 0; i < config.layers; ++i) {
    yield* body.at("blocks").at(i).prepare();
    blocks.push(mptBlock(body, i, config));
    yield;
  }
  yield* body.at("wte").prepare();
  if (!config.tieWordEmbeddings) yield* at.at("lm_head").prepare();
  yield;
  return new MptForCausalLM(at, config, blocks);
}
