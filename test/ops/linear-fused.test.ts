// Linear layers with what stands around them, against the ops that they stand for: values, gradients of everything, f32 and bf16, sizes that are drawn.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, type DType, Tensor } from "../../lib/index.js";
import {
  type ActivationKind,
  activation,
  add,
  attentionTwoSource,
  cast,
  feedForward,
  linear,
  linearResidual,
  mul,
  projectTwoSource,
  sum,
} from "../../lib/ops/index.js";
import { here } from "../case.js";
import { random } from "../harness.js";

const SEED = Number(process.env.ANYMAL_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`ANYMAL_SEED=${SEED}`);
const draw = random(SEED);
const size = (most: number) => 1 + Math.floor(((draw() + 1) / 2) * most * 0.999);

type Inputs = Record<string, Tensor>;
type Drawn = Record<string, { shape: number[]; values: Float32Array; dtype: DType }>;
const drawn = (dtype: DType, ...shape: number[]): Drawn[string] => {
  const scale = 1 / Math.sqrt(shape.at(-1) as number);
  return { shape, dtype, values: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => scale * draw()) };
};

/** The outputs of `fn`, and the gradients of all that is not `frozen`. */
async function run(drawnInputs: Drawn, fn: (t: Inputs) => Tensor[], frozen: readonly string[] = []): Promise<Map<string, Float32Array>> {
  const inputs: Inputs = {};
  for (const [name, { shape, values, dtype }] of Object.entries(drawnInputs)) {
    inputs[name] = Tensor.from(values, shape, { device: here, dtype });
    (inputs[name] as Tensor).requiresGrad = !frozen.includes(name);
  }
  const outputs = fn(inputs);
  const weight = random(SEED ^ 7);
  const losses = outputs.map((y) => {
    const seed = Float32Array.from({ length: y.size }, () => weight());
    return sum(mul(y, Tensor.from(seed, y.shape, { device: here, dtype: y.dtype })));
  });
  backward(losses.reduce((a, b) => add(a, b)));
  const found = new Map<string, Float32Array>();
  for (const [i, y] of outputs.entries()) found.set(`output ${i}`, Float32Array.from(await y.data()));
  for (const [name, t] of Object.entries(inputs)) {
    assert.is(t.grad !== undefined, !frozen.includes(name), `the gradient of ${name}`);
    if (t.grad) found.set(`the gradient of ${name}`, Float32Array.from(await t.grad.data()));
  }
  return found;
}

/** `steps`: roundings of the dtype that lie between the two at most, of the largest number. */
function close(got: Map<string, Float32Array>, want: Map<string, Float32Array>, dtype: DType, said: string): void {
  const unit = dtype === "bf16" ? 2 ** -8 : 2 ** -21;
  assert.equal([...got.keys()], [...want.keys()]);
  for (const [name, expected] of want) {
    const values = got.get(name) as Float32Array;
    const largest = expected.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
    for (const [i, v] of values.entries()) {
      const difference = Math.abs(v - (expected[i] as number));
      assert.ok(difference <= 3 * unit * largest, `${said}, ${name}, ${i}: ${v} in place of ${expected[i]}`);
    }
  }
}

const KINDS: ActivationKind[] = ["gelu", "squared_relu", "relu", "silu"];
// bf16: rows are bf16, weights f32 masters; frozen weights may be bf16 too.
for (const [dtype, master] of [
  ["f32", "f32"],
  ["bf16", "f32"],
  ["bf16", "bf16"],
] as const) {
  const said = `${dtype}, weights ${master}`;
  /** What the ops that are stood for take. */
  const met = (w: Tensor) => (w.dtype === dtype ? w : cast(w, dtype));

  test(`${said}: a layer beside what goes past it`, async () => {
    for (const bias of [true, false]) {
      const [N, I, O] = [size(70), size(70), 8 * size(9)];
      const b: Drawn = bias ? { b: drawn(dtype, O) } : {};
      const inputs: Drawn = { x: drawn(dtype, 2, N, I), w: drawn(master, O, I), residual: drawn(dtype, 2, N, O), ...b };
      const want = await run(inputs, (t) => [add(t.residual!, linear(t.x!, met(t.w!), t.b))]);
      close(await run(inputs, (t) => [linearResidual(t.x!, t.w!, t.b, t.residual!)]), want, dtype, `${N} ${I} ${O}`);
    }
  });

  for (const kind of KINDS)
    test(`${said}: a feed-forward with ${kind}`, async () => {
      const [N, C, W] = [size(70), 8 * size(6), size(90)];
      const [b1, b2] = kind === "relu" ? [{}, {}] : [{ b1: drawn(dtype, W) }, { b2: drawn(dtype, C) }];
      const inputs: Drawn = {
        x: drawn(dtype, N, C),
        w1: drawn(master, W, C),
        ...b1,
        w2: drawn(master, C, W),
        ...b2,
        ...(kind === "silu" ? {} : { residual: drawn(dtype, N, C) }),
      };
      const fused = (t: Inputs) => [feedForward(t.x!, { w1: t.w1!, b1: t.b1, w2: t.w2!, b2: t.b2 }, kind, t.residual)];
      const plain = (t: Inputs) => {
        const y = linear(activation(linear(t.x!, met(t.w1!), t.b1), kind), met(t.w2!), t.b2);
        return [t.residual ? add(t.residual, y) : y];
      };
      // All of it; a frozen layer that a gradient passes; one that none passes; nothing but the second layer, or the first bias.
      const apart = [
        ["w1", "b1", "w2", "b2"],
        ["x", "w1", "b1", "w2", "b2"],
        ["x", "w1", "b1", "residual"],
        ["x", "w1", "w2", "b2", "residual"],
      ];
      for (const frozen of [[], ...apart]) {
        const here = frozen.filter((name) => name in inputs);
        if (here.length === Object.keys(inputs).length) continue;
        close(await run(inputs, fused, here), await run(inputs, plain, here), dtype, `${N} ${C} ${W}, frozen: ${here}`);
      }
    });

  test(`${said}: a Perceiver's projections of two sources, weights apart or rows of one`, async () => {
    const [B, S, R, C, O] = [2, size(70), size(40), size(60), 2 * size(20)];
    const inputs: Drawn = { x1: drawn(dtype, B, S, C), x2: drawn(dtype, B, R, C), wq: drawn(master, O, C), wkv: drawn(master, 2 * O, C) };
    const rows = (weight: Tensor, start: number) => ({ weight, start, length: O });
    const plain = ({ x1, x2, wq, wkv }: Inputs) => {
      const w = met(wkv!);
      return [linear(x2!, met(wq!)), ...[x1!, x2!].flatMap((x) => [linear(x, w.slice(0, O)), linear(x, w.slice(O, O))])];
    };
    const fused = ({ x1, x2, wq, wkv }: Inputs) => [...projectTwoSource(x1!, x2!, wq!, rows(wkv!, 0), rows(wkv!, O))];
    for (const frozen of [[], ["x1"], ["wq", "wkv"], ["x2", "wq"]])
      close(await run(inputs, fused, frozen), await run(inputs, plain, frozen), dtype, `${S} ${R} ${C} ${O}, frozen: ${frozen}`);
    const apart: Drawn = { x1: inputs.x1!, x2: inputs.x2!, wq: inputs.wq!, wk: drawn(master, O, C), wv: drawn(master, O, C) };
    const heads = (x: Tensor) => x.reshape([B, x.shape[1] as number, 2, O / 2]);
    const seen = ([q, k1, v1, k2, v2]: Tensor[]) => [
      attentionTwoSource(...([q!, k1!, v1!, k2!, v2!].map(heads) as [Tensor, Tensor, Tensor, Tensor, Tensor])),
    ];
    const want = await run(apart, (t) =>
      seen([linear(t.x2!, met(t.wq!)), ...[t.x1!, t.x2!].flatMap((x) => [linear(x, met(t.wk!)), linear(x, met(t.wv!))])]),
    );
    close(await run(apart, (t) => seen(projectTwoSource(t.x1!, t.x2!, t.wq!, t.wk!, t.wv!))), want, dtype, "apart");
  });
}

test("what does not fit is refused", () => {
  const t = (...shape: number[]) => Tensor.zeros(shape, { device: here });
  const half = (...shape: number[]) => Tensor.zeros(shape, { device: here, dtype: "bf16" });
  const code = (expected: string) => (e: { code?: string }) => e.code === expected;
  assert.throws(() => linearResidual(t(2, 3), t(4, 3), undefined, t(2, 3)), code("E_SHAPE"));
  assert.throws(() => linearResidual(t(2, 3), half(4, 3), undefined, t(2, 4)), code("E_DTYPE"));
  const weights = { w1: t(4, 3), w2: t(3, 4) };
  assert.throws(() => feedForward(t(2, 3), weights, "mish" as ActivationKind, t(2, 3)), code("E_VALUE"));
  assert.throws(() => feedForward(t(2, 3), { ...weights, w2: t(3, 5) }, "relu", t(2, 3)), code("E_SHAPE"));
  assert.throws(() => projectTwoSource(t(5, 3), t(2, 4), t(4, 3), t(4, 3), t(4, 3)), code("E_SHAPE"));
  const rows = { weight: t(4, 3), start: 3, length: 2 };
  assert.throws(() => projectTwoSource(t(5, 3), t(2, 3), t(4, 3), rows, t(2, 3)), /expected/);
});

test.run();
