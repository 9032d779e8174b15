// OPT (arXiv 2205.01068): learned positions that are counted from the first token of a row, norms with biases, a plain feed-forward. The names of the fields
// give the names of a Hugging Face checkpoint.
import { builtInPieces, scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { atOnce, type Pieces } from "../core/turns.js";
import { CausalSelfAttention } from "../nn/attention.js";
import { Embedding } from "../nn/embedding.js";
import type { Layer, Plain } from "../nn/layer.js";
import { type LinearLayer, storedLinear } from "../nn/linear.js";
import { Module, matching } from "../nn/module.js";
import { BareLayerNorm, LayerNorm } from "../nn/norm.js";
import type { Sequence } from "../nn/sequence.js";
import type { Weights } from "../nn/weights.js";
import { type ActivationKind, activation, add, embedding } from "../ops/index.js";
import { CausalDecoder } from "./causal-decoder.js";
import { type Begun, DecoderBody } from "./decoder-body.js";
import { type DecoderFamily, inPieces } from "./decoder-family.js";
import { checkPretrained, type PretrainedOptions } from "./loading.js";
import { type OptConfig, parseOptConfig } from "./opt-config.js";
import type { Place } from "./piece.js";
import { checkStored, prefixed, type StoredSize } from "./stored-decoder.js";

/** The first rows of the table of positions stand for none: fairseq counted from the padding's id on. */
const OFFSET = 2;
const EPS = 1e-5;
const BODY = "model.decoder";
type Norm = LayerNorm | BareLayerNorm;

const norm = (at: Weights, width: number, { normAffine }: OptConfig): Norm =>
  normAffine ? new LayerNorm(at, width, EPS) : new BareLayerNorm(at, width, EPS, { weight: false });

class OptLayer extends Module {
  selfAttn: Layer;
  selfAttnLayerNorm: Norm;
  fc1: LinearLayer;
  fc2: LinearLayer;
  finalLayerNorm: Norm;
  readonly #before: boolean;
  readonly #kind: ActivationKind;

  constructor(at: Weights, index: number, c: OptConfig) {
    super();
    const { hiddenSize: width, heads, kvHeads, headDim, bias, intermediateSize } = c;
    this.#before = c.normBefore;
    this.#kind = c.activation;
    const attention = { width, heads, kvHeads, headDim, bias, rotary: false, outputName: "out_proj" };
    this.selfAttn = new CausalSelfAttention(at.at("self_attn"), index, attention);
    this.selfAttnLayerNorm = norm(at.at("self_attn_layer_norm"), width, c);
    this.fc1 = storedLinear(at.at("fc1"), width, intermediateSize, { bias });
    this.fc2 = storedLinear(at.at("fc2"), intermediateSize, width, { bias });
    this.finalLayerNorm = norm(at.at("final_layer_norm"), width, c);
  }

  forward(x: Tensor, sequence: Sequence): Tensor {
    return scope(() => {
      const h = this.#with(x, this.selfAttnLayerNorm, (y) => this.selfAttn.forward(y, sequence));
      return this.#with(h, this.finalLayerNorm, (y) => this.fc2.forward(activation(this.fc1.forward(y), this.#kind)));
    });
  }
  #with(x: Tensor, norm: Norm, branch: (y: Tensor) => Tensor): Tensor {
    return this.#before ? add(x, branch(norm.forward(x))) : norm.forward(add(x, branch(x)));
  }
}

const optLayer = (at: Weights, i: number, c: OptConfig) => new OptLayer(at.at("layers").at(i), i, c);

class OptBody extends DecoderBody {
  embedTokens: Plain;
  embedPositions: Embedding;
  projectOut: LinearLayer | undefined;
  projectIn: LinearLayer | undefined;
  finalLayerNorm: Norm | undefined;
  layers: Layer[];
  readonly #positions: number;

  constructor(at: Weights, c: OptConfig, layers?: Layer[]) {
    super(at.device);
    const { hiddenSize, embedWidth, maxPositions } = c;
    const projects = embedWidth !== hiddenSize;
    this.#positions = maxPositions;
    this.embedTokens = new Embedding(at.at("embed_tokens"), c.vocabSize, embedWidth, { padding: c.padTokenId });
    this.embedPositions = new Embedding(at.at("embed_positions"), maxPositions + OFFSET, hiddenSize);
    this.projectOut = projects ? storedLinear(at.at("project_out"), hiddenSize, embedWidth, { bias: false }) : undefined;
    this.projectIn = projects ? storedLinear(at.at("project_in"), embedWidth, hiddenSize, { bias: false }) : undefined;
    this.finalLayerNorm = c.finalNorm ? norm(at.at("final_layer_norm"), hiddenSize, c) : undefined;
    this.layers = layers ?? Array.from({ length: c.layers }, (_, i) => optLayer(at, i, c));
  }

  override get learnedPositions(): number {
    return this.#positions;
  }

  override begun(x: Tensor, sequence: Sequence): Begun {
    const places = this.embedPositions.weight.slice(OFFSET, this.#positions);
    return {
      x: scope(() => {
        const h = this.projectIn ? this.projectIn.forward(x) : x;
        return add(h, matching(embedding(sequence.positions, places), h));
      }),
      sequence,
    };
  }
  ended(h: Tensor): Tensor {
    const y = this.finalLayerNorm ? this.finalLayerNorm.forward(h) : h;
    return this.projectOut ? this.projectOut.forward(y) : y === h ? h.alias() : y;
  }
}

/** A decoder of the family OPT. AutoModelForCausalLM opens one too. */
export class OptForCausalLM extends CausalDecoder<OptConfig> {
  constructor(at: Weights, config: OptConfig, layers?: Layer[]) {
    super(at, config, () => new OptBody(at.at(BODY), config, layers));
  }

  protected override stateName(field: string): string {
    return field === "model" ? BODY : super.stateName(field);
  }

  /** From a folder in Hugging Face layout, as LlamaForCausalLM.fromPretrained. */
  static fromPretrained(folder: string, options: PretrainedOptions): OptForCausalLM {
    checkPretrained("OptForCausalLM.fromPretrained", options);
    return atOnce(OptForCausalLM.inPieces(folder, options));
  }
  /** The same in pieces of a layer. */
  static inPieces(place: Place, options: PretrainedOptions): Pieces<OptForCausalLM> {
    return inPieces(() => OPT, place, options);
  }
}

export const OPT: DecoderFamily<OptConfig, OptForCausalLM> = {
  parse: parseOptConfig,
  embedding: `${BODY}.embed_tokens.weight`,
  named: (checkpoint) => prefixed(checkpoint, BODY, "embed_tokens.weight"),
  check: (config, checkpoint) =>
    checkStored(checkpoint, {
      layers: `${BODY}.layers`,
      sample: "self_attn.q_proj.weight",
      count: config.layers,
      key: "num_hidden_layers",
      tied: config.tieWordEmbeddings,
      sizes: sizes(config),
      names: names(config),
    }),
  built: (at, config) => builtInPieces(layered(at, config)),
};

function sizes(c: OptConfig): StoredSize[] {
  const [table, layer] = [`${BODY}.embed_tokens.weight`, `${BODY}.layers.0`];
  return [
    { key: "vocab_size", name: table, size: c.vocabSize },
    { key: "word_embed_proj_dim", name: table, size: c.embedWidth, dim: 1 },
    { key: "hidden_size", name: `${BODY}.embed_positions.weight`, size: c.hiddenSize, dim: 1 },
    { key: "max_position_embeddings", name: `${BODY}.embed_positions.weight`, size: c.maxPositions + OFFSET },
    { key: "ffn_dim", name: `${layer}.fc1.weight`, size: c.intermediateSize },
  ];
}

function* names(c: OptConfig): Generator<string> {
  const norm = c.normAffine ? ["weight", "bias"] : [];
  const linear = c.bias ? ["weight", "bias"] : ["weight"];
  for (const name of ["embed_tokens", "embed_positions", ...(c.embedWidth === c.hiddenSize ? [] : ["project_in", "project_out"])])
    yield `${BODY}.${name}.weight`;
  if (c.finalNorm) for (const part of norm) yield `${BODY}.final_layer_norm.${part}`;
  if (!c.tieWordEmbeddings) yield "lm_head.weight";
  for (let i = 0; i < c.layers; ++i) {
    const layer = `${BODY}.layers.${i}`;
    for (const name of ["self_attn_layer_norm", "final_layer_norm"]) for (const part of norm) yield `${layer}.${name}.${part}`;
    for (const name of ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "fc1", "fc2"])
      for (const part of linear) yield `${layer}.${name}.${part}`;
  }
}

function* layered(at: Weights, config: OptConfig): Pieces<OptForCausalLM> {
  const body = at.at(BODY);
  const layers: OptLayer[] = [];
  for (let i = 0; i < config.layers; ++i) {
    yield* body.at("layers").at(i).prepare();
    layers.push(optLayer(body, i, config));
    yield;
  }
  for (const table of ["embed_tokens", "embed_positions"]) yield* body.at(table).prepare();
  if (!config.tieWordEmbeddings) yield* at.at("lm_head").prepare();
  yield;
  return new OptForCausalLM(at, config, layers);
}
