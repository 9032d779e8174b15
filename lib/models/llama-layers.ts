// LLaMA's stack: attention and a gated feed-forward, each behind an RMSNorm, between the table of embeddings and the last norm.
import { scope } from "../core/scope.js";
import type { Tensor } from "../core/tensor.js";
import { CausalSelfAttention } from "../nn/attention.js";
import { Embedding } from "../nn/embedding.js";
import type { Layer, Plain } from "../nn/layer.js";
import { GatedMlp } from "../nn/mlp.js";
import { Module } from "../nn/module.js";
import { RMSNorm, withPast, withSum } from "../nn/norm.js";
import type { Sequence } from "../nn/sequence.js";
import type { Weights } from "../nn/weights.js";
import { add } from "../ops/index.js";
import { DecoderBody } from "./decoder-body.js";
import type { LlamaConfig } from "./llama-config.js";

export class DecoderLayer extends Module {
  selfAttn: Layer;
  mlp: GatedMlp;
  inputLayernorm: RMSNorm;
  postAttentionLayernorm: RMSNorm;

  constructor(at: Weights, index: number, c: LlamaConfig) {
    super();
    this.selfAttn = new CausalSelfAttention(at.at("self_attn"), index, {
      width: c.hiddenSize,
      heads: c.heads,
      kvHeads: c.kvHeads,
      headDim: c.headDim,
      bias: c.qkvBias,
      outputBias: c.outputBias,
      headNormEps: c.headNorm ? c.rmsNormEps : undefined,
      window: c.slidingLayers?.[index] === false ? 0 : c.slidingWindow,
    });
    this.mlp = new GatedMlp(at.at("mlp"), c.hiddenSize, c.intermediateSize, c.activation, c.mlpBias);
    this.inputLayernorm = new RMSNorm(at.at("input_layernorm"), c.hiddenSize, c.rmsNormEps);
    this.postAttentionLayernorm = new RMSNorm(at.at("post_attention_layernorm"), c.hiddenSize, c.rmsNormEps);
  }

  forward(x: Tensor, sequence: Sequence): Tensor {
    return scope(() => {
      const [past, y] = withPast(this.inputLayernorm, x);
      const [h, z] = withSum(this.postAttentionLayernorm, past, this.selfAttn.forward(y, sequence));
      return add(h, this.mlp.forward(z));
    });
  }
}

export const decoderLayer = (at: Weights, i: number, c: LlamaConfig) => new DecoderLayer(at.at("layers").at(i), i, c);

export class LlamaModel extends DecoderBody {
  embedTokens: Plain; // an Embedding, and what stands around it
  layers: Layer[];
  norm: RMSNorm;

  constructor(at: Weights, c: LlamaConfig, layers?: DecoderLayer[]) {
    super(at.device, { headDim: c.headDim, theta: c.ropeTheta, scaling: c.ropeScaling });
    this.embedTokens = new Embedding(at.at("embed_tokens"), c.vocabSize, c.hiddenSize, { padding: c.padTokenId });
    this.layers = layers ?? Array.from({ length: c.layers }, (_, i) => decoderLayer(at, i, c));
    this.norm = new RMSNorm(at.at("norm"), c.hiddenSize, c.rmsNormEps);
  }

  ended(h: Tensor): Tensor {
    return this.norm.forward(h);
  }
}
