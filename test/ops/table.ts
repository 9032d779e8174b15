// How each differentiable op is called with named tensors and options, for the tests that go through all of them.
import type { Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";

export interface Subcase {
  id: string;
  op: string;
  // biome-ignore lint/suspicious/noExplicitAny: options differ from op to op
  attrs: any;
  inputs: string[];
  trainable: string[];
}

type T = Record<string, Tensor>;
type Call = (t: T, a: Subcase["attrs"]) => Tensor;
/** A tensor that the case may leave out. */
const maybe = (t: T, name: string) => t[name] as Tensor | undefined;

// biome-ignore format: a table
export const CALLS: Record<string, Call> = {
  add: ({ a, b }) => ops.add(a!, b!),
  sub: ({ a, b }) => ops.sub(a!, b!),
  mul: ({ a, b }) => ops.mul(a!, b!),
  scaleAdd: (t, a) => ops.scaleAdd(t.x!, maybe(t, "r"), a.alpha, a.beta),
  scaleBy: ({ x, s }) => ops.scaleBy(x!, s!),
  copy: ({ x }) => ops.copy(x!),
  concat: ({ a, b, c }, { dim }) => ops.concat([a!, b!, c!], dim),
  sliceCopy: ({ x }, a) => ops.sliceCopy(x!, a.dim, a.start, a.length),
  slicePlace: ({ x }, a) => ops.slicePlace(x!, a.dim, a.start, a.full),
  transposeCopy: ({ x }, a) => ops.transposeCopy(x!, a.dim0, a.dim1),
  gatherRows: ({ x, index }) => ops.gatherRows(x!, index!),
  spliceRows: ({ text, media, index }) => ops.spliceRows(text!, media!, index!),
  activation: ({ x }, { kind }) => ops.activation(x!, kind),
  gatedActivation: ({ gate, up }, { kind }) => ops.gatedActivation(gate!, up!, kind),
  tanhGate: (t) => ops.tanhGate(t.x!, maybe(t, "residual"), t.g!),
  linear: (t) => ops.linear(t.x!, t.w!, maybe(t, "b")),
  rmsNorm: ({ x, w }, { eps }) => ops.rmsNorm(x!, w!, eps),
  layerNorm: (t, { eps }) => ops.layerNorm(t.x!, maybe(t, "w"), maybe(t, "b"), eps),
  groupNorm: ({ x, w, b }, a) => ops.groupNorm(x!, w!, b!, a.groups, a.eps),
  batchNormInference: ({ x, mean, variance, w, b }, { eps }) => ops.batchNormInference(x!, mean!, variance!, w!, b!, eps),
  l2Normalize: ({ x }, { eps }) => ops.l2Normalize(x!, eps),
  rope: ({ x, table, positions }) => ops.rope(x!, table!, positions!),
  attention: (t, a) => ops.attention(t.q!, t.k!, t.v!, { ...a, range: maybe(t, "range"), bias: maybe(t, "bias") }),
  attentionTwoSource: (t, a) => ops.attentionTwoSource(t.q!, t.k1!, t.v1!, t.k2!, t.v2!, { ...a, range: maybe(t, "range") }),
  conv1d: (t, a) => ops.conv1d(t.x!, t.w!, maybe(t, "b"), a),
  conv2d: (t, a) => ops.conv2d(t.x!, t.w!, maybe(t, "b"), a),
  maxPool1d: ({ x }, a) => ops.maxPool1d(x!, a.kernel, a.stride),
  meanPool: ({ x }, { dim }) => ops.meanPool(x!, dim),
  interpolateBicubic: ({ x }, a) => ops.interpolateBicubic(x!, a.height, a.width, { alignCorners: a.alignCorners, antialias: a.antialias }),
  gru: ({ x, wIh, wHh, bIh, bHh }) => ops.gru(x!, wIh!, wHh!, bIh!, bHh!),
  embedding: ({ ids, w }) => ops.embedding(ids!, w!),
  softmaxCrossEntropy: ({ logits, target }, { ignore }) => ops.softmaxCrossEntropy(logits!, target!, ignore),
  headCrossEntropy: ({ x, w, target }, a) => ops.headCrossEntropy(x!, w!, target!, a),
  contrastiveLoss: ({ a, b, t }, { form }) => ops.contrastiveLoss(a!, b!, t!, form),
  sum: ({ x }, { factor }) => ops.sum(x!, factor),
};

/** Exports of lib/ops that this table does not call, and where they are tested instead. */
export const ELSEWHERE: Record<string, string> = {
  lookedUp: "test/nn/token-rows.test.ts",
  accumulateInplace: "test/native/ops.cc",
  sumLeadingInto: "test/native/ops.cc",
  fill: "test/native/ops.cc",
  increment: "test/native/ops.cc",
  randomUniform: "test/ops/random.test.ts",
  randomNormal: "test/ops/random.test.ts",
  dropout: "test/ops/random.test.ts",
  sampleCategorical: "test/ops/random.test.ts",
  cast: "test/ops/bf16.test.ts",
  scale: "through scaleAdd",
  formatCode: "test/nn/quantization.test.ts",
  mean: "through sum",
  argmax: "test/ops/random.test.ts",
  attentionDecode: "test/models/llama.test.ts",
  cacheWrite: "test/models/llama.test.ts",
  pastRmsNorm: "test/ops/around-norms.test.ts",
  addRmsNorm: "test/ops/around-norms.test.ts",
  ropePair: "test/ops/rope-fused.test.ts",
  ropeCached: "test/ops/rope-fused.test.ts",
  linearResidual: "test/ops/linear-fused.test.ts",
  feedForward: "test/ops/linear-fused.test.ts",
  projectTwoSource: "test/ops/linear-fused.test.ts",
  linearQuantized: "test/nn/quantized-linear.test.ts",
  linearQuantizedLora: "test/nn/quantized-linear.test.ts",
  adamw: "test/train/optimizer.test.ts",
  adamw8bit: "test/train/optimizer.test.ts",
  adamwClipped: "test/train/optimizer.test.ts",
  gradNorm: "test/train/optimizer.test.ts",
  clipScale: "test/train/optimizer.test.ts",
  quantize4bit: "test/nn/quantization.test.ts",
  dequantize4bit: "test/nn/quantization.test.ts",
  quantizeRowsInt8: "test/nn/quantization.test.ts",
  dequantizeRowsInt8: "test/nn/quantization.test.ts",
  quantizeDynamic: "test/nn/quantization.test.ts",
  dequantizeDynamic: "test/nn/quantization.test.ts",
  quantizeAbsmax: "test/nn/quantization.test.ts",
  dequantizeAbsmax: "test/nn/quantization.test.ts",
  packCodes: "test/nn/quantization.test.ts",
  unpackCodes: "test/nn/quantization.test.ts",
  packedBytes: "test/nn/quantization.test.ts",
};
