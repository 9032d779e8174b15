// Every backward against central differences of its own forward, on tiny shapes with fresh random inputs. Another seed: ANYMAL_SEED=7.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkpoint, seed as seedRandom, Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";
import { here } from "../case.js";
import { checkGradients, type Input, random } from "../harness.js";
import { CALLS } from "./table.js";

const SEED = Number(process.env.ANYMAL_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`ANYMAL_SEED=${SEED}`);
const draw = random(SEED);

type Shapes = Record<string, number[]>;
interface Tiny {
  op: string;
  attrs?: object;
  float: Shapes;
  /** Index tensors: shape and exclusive upper bound, or the numbers themselves. */
  index?: Record<string, { shape: number[]; below?: number; values?: number[] }>;
  /** Moves drawn values to where the op is smooth. */
  shape?: (value: number, at: number) => number;
}

/** Away from the corner at zero, where a central difference means nothing. */
const offZero = (v: number) => (Math.abs(v) < 0.1 ? v + 0.2 * Math.sign(v || 1) : v);
/** Neighbours at least 0.1 apart, so that no maximum changes hands. */
const apart = (_: number, at: number) => ((at * 7) % 11) / 5 - 1;

const UNIT = { groups: 2, eps: 1e-5 };
const KINDS = ["relu", "squared_relu", "gelu", "gelu_tanh", "quick_gelu", "silu", "tanh", "sigmoid", "identity"];
const CASES: Tiny[] = [
  { op: "add", float: { a: [3, 2, 5], b: [2, 5] } },
  { op: "sub", float: { a: [7], b: [7] } },
  { op: "mul", float: { a: [3, 2, 5], b: [5] } },
  { op: "scaleAdd", attrs: { alpha: 0.5, beta: -2 }, float: { x: [3, 5], r: [3, 5] } },
  { op: "copy", float: { x: [3, 5] } },
  { op: "concat", attrs: { dim: 1 }, float: { a: [2, 1, 3], b: [2, 2, 3], c: [2, 3, 3] } },
  { op: "sliceCopy", attrs: { dim: 1, start: 1, length: 3 }, float: { x: [2, 5, 2] } },
  { op: "slicePlace", attrs: { dim: 0, start: 2, full: 7 }, float: { x: [3, 5] } },
  { op: "transposeCopy", attrs: { dim0: 0, dim1: 1 }, float: { x: [3, 5] } },
  { op: "gatherRows", float: { x: [4, 3] }, index: { index: { shape: [6], values: [0, 3, -1, 3, 2, 3] } } },
  { op: "spliceRows", float: { text: [3, 2], media: [2, 2] }, index: { index: { shape: [2, 3], values: [0, 3, 4, -1, 2, 1] } } },
  ...KINDS.map((kind) => ({ op: "activation", attrs: { kind }, float: { x: [2, 7] }, shape: (v: number) => offZero(2 * v) })),
  { op: "gatedActivation", attrs: { kind: "silu" }, float: { gate: [3, 5], up: [3, 5] } },
  { op: "gatedActivation", attrs: { kind: "gelu" }, float: { gate: [3, 5], up: [3, 5] } },
  { op: "tanhGate", float: { x: [3, 5], residual: [3, 5], g: [1] } },
  { op: "tanhGate", float: { x: [2, 3, 4], g: [3] } },
  { op: "linear", float: { x: [3, 5], w: [7, 5], b: [7] } },
  { op: "linear", float: { x: [1, 1], w: [1, 1] } },
  { op: "rmsNorm", attrs: { eps: 1e-5 }, float: { x: [3, 7], w: [7] } },
  { op: "layerNorm", attrs: { eps: 1e-5 }, float: { x: [3, 7], w: [7], b: [7] } },
  { op: "layerNorm", attrs: { eps: 1e-5 }, float: { x: [3, 7] } },
  { op: "groupNorm", attrs: UNIT, float: { x: [2, 4, 3], w: [4], b: [4] } },
  { op: "l2Normalize", attrs: { eps: 1e-12 }, float: { x: [3, 5] } },
  { op: "attention", attrs: { causal: true }, float: { q: [1, 3, 2, 4], k: [1, 5, 1, 4], v: [1, 5, 1, 4] } },
  { op: "attention", float: { q: [2, 2, 1, 3], k: [2, 4, 1, 3], v: [2, 4, 1, 3], bias: [1, 1, 2, 4] } },
  { op: "attention", attrs: { causal: true, window: 2 }, float: { q: [1, 4, 1, 3], k: [1, 4, 1, 3], v: [1, 4, 1, 3] } },
  { op: "attentionTwoSource", float: { q: [1, 2, 2, 3], k1: [1, 4, 2, 3], v1: [1, 4, 2, 3], k2: [1, 2, 2, 3], v2: [1, 2, 2, 3] } },
  { op: "conv1d", attrs: { stride: 2, padding: 1, dilation: 2 }, float: { x: [2, 2, 9], w: [3, 2, 3], b: [3] } },
  { op: "conv2d", attrs: { stride: [1, 2], padding: 1 }, float: { x: [1, 2, 4, 5], w: [2, 2, 3, 2], b: [2] } },
  { op: "maxPool1d", attrs: { kernel: 3, stride: 2 }, float: { x: [1, 1, 11] }, shape: apart },
  { op: "meanPool", attrs: { dim: 1 }, float: { x: [2, 3, 4] } },
  { op: "interpolateBicubic", attrs: { height: 3, width: 7 }, float: { x: [1, 1, 5, 4] } },
  { op: "interpolateBicubic", attrs: { height: 2, width: 3, antialias: true }, float: { x: [1, 1, 5, 7] } },
  { op: "gru", float: { x: [2, 3, 2], wIh: [9, 2], wHh: [9, 3], bIh: [9], bHh: [9] } },
  { op: "embedding", float: { w: [4, 3] }, index: { ids: { shape: [5], below: 4 } } },
  {
    op: "softmaxCrossEntropy",
    attrs: { ignore: -100 },
    float: { logits: [3, 7] },
    index: { target: { shape: [3], values: [2, -100, 6] } },
  },
  {
    op: "headCrossEntropy",
    attrs: { ignore: -100, scale: 0.5 },
    float: { x: [4, 3], w: [7, 3] },
    index: { target: { shape: [4], below: 7 } },
  },
  { op: "contrastiveLoss", attrs: { form: "exp" }, float: { a: [3, 4], b: [3, 4], t: [1] } },
  { op: "contrastiveLoss", attrs: { form: "reciprocal" }, float: { a: [3, 4], b: [3, 4], t: [1] }, shape: (v) => 1 + 0.3 * v },
  { op: "sum", attrs: { factor: 0.5 }, float: { x: [3, 5] } },
];

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const drawn = (shape: readonly number[], f: (v: number, at: number) => number = (v) => v): Input => ({
  shape,
  values: Float32Array.from({ length: sizeOf(shape) }, (_, i) => f(draw(), i)),
});

for (const [i, c] of CASES.entries()) {
  test(`${c.op} ${JSON.stringify(c.attrs ?? {})} ${JSON.stringify(c.float)}`, async () => {
    const inputs = Object.fromEntries(Object.entries(c.float).map(([name, shape]) => [name, drawn(shape, c.shape)]));
    const indices = Object.fromEntries(
      Object.entries(c.index ?? {}).map(([name, { shape, below = 1, values }]) => {
        const numbers = values ?? Array.from({ length: sizeOf(shape) }, () => Math.floor(((draw() + 1) / 2) * below));
        return [name, Tensor.from(Int32Array.from(numbers), shape, { device: here, dtype: "i32" })];
      }),
    );
    await checkGradients(c.op, here, inputs, (t) => CALLS[c.op]!({ ...t, ...indices }, c.attrs ?? {}), SEED + i);
  });
}

test("rope", async () => {
  const table = Tensor.from(Float32Array.from([0, 1, 2, 3, 4].flatMap((angle) => [Math.cos(angle), Math.sin(angle)])), [5, 1, 2], {
    device: here,
  });
  const positions = Tensor.from(Int32Array.of(0, 4, 2), [1, 3], { device: here, dtype: "i32" });
  await checkGradients("rope", here, { x: drawn([1, 3, 2, 2]) }, ({ x }) => ops.rope(x!, table, positions), SEED);
});

test("batchNormInference", async () => {
  const mean = Tensor.from(Float32Array.of(0.1, -0.4, 0.2), [3], { device: here });
  const variance = Tensor.from(Float32Array.of(0.5, 1.5, 1), [3], { device: here });
  const inputs = { x: drawn([2, 3, 4]), w: drawn([3]), b: drawn([3]) };
  await checkGradients("batchNormInference", here, inputs, ({ x, w, b }) => ops.batchNormInference(x!, mean, variance, w!, b!, 1e-5), SEED);
});

test("a value used twice, a view, and a checkpointed block", async () => {
  const run = ({ x, w }: Record<string, Tensor>) => {
    const h = ops.linear(x!, w!);
    const y = checkpoint((t) => ops.activation(ops.linear(t, w!), "gelu"), ops.add(h, ops.mul(h, h)));
    return ops.mul(y.reshape([6]).slice(1, 4), h.reshape([6]).slice(0, 4));
  };
  await checkGradients("composition", here, { x: drawn([2, 3]), w: drawn([3, 3]) }, run, SEED);
});

test("dropout: the mask of the forward pass is the mask of the backward pass", async () => {
  const run = ({ x }: Record<string, Tensor>) => {
    seedRandom(SEED);
    return ops.dropout(x!, 0.4);
  };
  await checkGradients("dropout", here, { x: drawn([5, 7]) }, run, SEED);
});

test("every op of the table has a case here", () => {
  const own = ["rope", "batchNormInference", "scaleBy"]; // scaleBy is linear in x: the golden cases pin it
  const tested = new Set([...CASES.map(({ op }) => op), ...own]);
  assert.equal(
    Object.keys(CALLS).filter((op) => !tested.has(op)),
    [],
  );
});

test.run();
