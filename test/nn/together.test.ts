// Several quantised layers over one x as one op: results to the bit as each gives them by itself, gradients as their sum, at every level and size; and
// layers that are no such group go their own way.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { randomState, setRandomState } from "../../lib/core/random.js";
import { backward, type Device, noGrad, Tensor } from "../../lib/index.js";
import { AffineLinear } from "../../lib/nn/affine.js";
import { DoraLinear } from "../../lib/nn/dora.js";
import type { LinearLayer } from "../../lib/nn/linear.js";
import { LoraLinear } from "../../lib/nn/lora.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { together } from "../../lib/nn/together.js";
import { Weights } from "../../lib/nn/weights.js";
import { add, mul, type QuantFormat, scaleAdd, sum } from "../../lib/ops/index.js";
import { levels, random } from "../harness.js";
import { recordedCommands } from "../recorded.js";

const test = suite("together");
const SEED = Number(process.env.ANYMAL_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`ANYMAL_SEED=${SEED}`);
const draw = random(SEED);
const below = (most: number) => Math.floor(((draw() + 1) / 2) * most * 0.999);
const values = (n: number, scale = 1) => Float32Array.from({ length: n }, () => scale * draw());

interface Asked {
  rows: number;
  inputs: number;
  outputs: readonly number[];
  /** Of each layer's branch; 0: it has none. */
  ranks: readonly number[];
  dropout: number;
  format: QuantFormat;
  doubleQuant: boolean;
  bias: boolean;
}

/** Few rows and many, ranks and widths that are no whole panels; with a branch on all, on one, on none. */
function asked(rows: number, count: number, branches: "all" | "one" | "none", format: QuantFormat = below(2) ? "nf4" : "fp4"): Asked {
  const which = below(count);
  return {
    rows,
    inputs: 64 * (1 + below(9)),
    outputs: Array.from({ length: count }, () => 1 + below(90)),
    ranks: Array.from({ length: count }, (_, i) => (branches === "all" || (branches === "one" && i === which) ? 1 + below(20) : 0)),
    dropout: below(2) * 0.25,
    format,
    doubleQuant: format !== "int8" && below(2) > 0,
    bias: below(2) > 0,
  };
}

interface World {
  layers: LinearLayer[];
  x: Tensor;
  dy: Tensor[];
}

/** What is drawn is the same for each device and dtype, and what bf16 can hold. */
interface Drawn {
  weights: Float32Array[];
  a: Float32Array[];
  b: Float32Array[];
  biases: Float32Array[];
  x: Float32Array;
  dy: Float32Array[];
}
const rounded = (v: Float32Array) => {
  const bits = new Uint32Array(v.buffer);
  for (const i of bits.keys()) bits[i] = ((bits[i] as number) + 0x8000) & 0xffff0000;
  return v;
};
const drawnFor = ({ rows, inputs, outputs, ranks }: Asked): Drawn => ({
  weights: outputs.map((O) => values(O * inputs, 0.2)),
  a: ranks.map((r) => rounded(values(r * inputs, 0.2))),
  b: outputs.map((O, i) => rounded(values(O * (ranks[i] as number), 0.5))),
  biases: outputs.map((O) => rounded(values(O))),
  x: rounded(values(rows * inputs)),
  dy: outputs.map((O) => rounded(values(rows * O))),
});

function worldOf(q: Asked, drawn: Drawn, device: Device, dtype: "f32" | "bf16"): World {
  const layers = q.outputs.map((O, i): LinearLayer => {
    using dense = Tensor.from(drawn.weights[i] as Float32Array, [O, q.inputs], { device });
    const { format, doubleQuant, inputs } = q;
    const weight = QuantizedWeight.quantize(dense, format === "int8" ? { format } : { format, doubleQuant });
    const bias = q.bias ? Tensor.from(drawn.biases[i] as Float32Array, [O], { device, dtype }) : undefined;
    if (bias) bias.requiresGrad = true;
    const base = new QuantizedLinear(weight, bias);
    const r = q.ranks[i] as number;
    if (!r) return base;
    const at = Weights.fresh({ device, dtype, trainable: true });
    const layer = new LoraLinear(at, base, { r, scaling: 0.5 + i, dropout: q.dropout });
    const branch: [string, Float32Array, number[]][] = [
      ["lora_A.weight", drawn.a[i] as Float32Array, [r, inputs]],
      ["lora_B.weight", drawn.b[i] as Float32Array, [O, r]],
    ];
    layer.loadState(new Map(branch.map(([name, data, shape]) => [name, Tensor.from(data, shape, { device, dtype })])), { strict: false });
    layer.train();
    return layer;
  });
  const x = Tensor.from(drawn.x, [q.rows, q.inputs], { device, dtype });
  x.requiresGrad = true;
  const dy = q.outputs.map((O, i) => Tensor.from(drawn.dy[i] as Float32Array, [q.rows, O], { device, dtype }));
  return { layers, x, dy };
}

type Numbers = Map<string, Float32Array>;
async function run({ layers, x, dy }: World, forward: (layers: readonly LinearLayer[], x: Tensor) => readonly Tensor[]): Promise<Numbers> {
  const random = randomState();
  const outputs = forward(layers, scaleAdd(x, undefined, 1, 0)); // where gradients meet that are no leaf's, they are added in their dtype
  backward(outputs.map((y, i) => sum(mul(y, dy[i] as Tensor))).reduce(add));
  setRandomState(random);
  const found: Numbers = new Map();
  for (const [i, y] of outputs.entries()) found.set(`y ${i}`, Float32Array.from(await y.data()));
  found.set("dx", Float32Array.from(await (x.grad as Tensor).data()));
  x.grad = undefined;
  for (const [i, layer] of layers.entries())
    for (const [name, t] of layer.namedParameters()) {
      if (!t.grad) continue;
      found.set(`d ${name} ${i}`, Float32Array.from(await t.grad.data()));
      t.grad = undefined;
    }
  return found;
}

const apart = (layers: readonly LinearLayer[], x: Tensor) => layers.map((layer) => layer.forward(x));
const error = (got: Float32Array, want: Float32Array) =>
  Math.sqrt(got.reduce((s, v, i) => s + (v - (want[i] as number)) ** 2, 0) / got.length);
const size = (v: Float32Array) => Math.sqrt(v.reduce((s, x) => s + x * x, 0) / v.length);

for (const [level, device] of levels()) {
  const errors = [0, 0]; // of the gradient of x in bf16: in one sum, and in sums that are rounded before they are added
  for (const [rows, count, branches, format] of [
    [1, 3, "none"],
    [3, 3, "one"],
    [8, 2, "all"],
    [19, 3, "all"],
    [130, 2, "one"],
    [40, 3, "none"],
    [5, 2, "one", "int8"],
  ] as const) {
    test(`${level}: ${count} layers, ${rows} rows, a branch on ${branches}${format ? `, ${format}` : ""}`, async () => {
      const q = asked(rows, count, branches, format);
      const drawn = drawnFor(q);
      const exact = await run(worldOf(q, drawn, device, "f32"), apart);
      for (const dtype of ["f32", "bf16"] as const) {
        const world = worldOf(q, drawn, device, dtype);
        const [one, each] = [await run(world, together), await run(world, apart)];
        assert.equal([...one.keys()].sort(), [...each.keys()].sort());
        for (const [name, got] of one) {
          const [want, said] = [each.get(name) as Float32Array, `${name} in ${dtype}: ${JSON.stringify(q)}`];
          if (name.startsWith("y")) assert.equal(got, want, said);
          else assert.ok(error(got, want) <= (dtype === "f32" ? 2 ** -20 : 2 ** -7) * size(want), said);
        }
        if (dtype === "f32") continue;
        const of = exact.get("dx") as Float32Array;
        for (const [i, found] of [one, each].entries()) errors[i]! += error(found.get("dx") as Float32Array, of) / size(of);
      }
    });
  }

  test(`${level}: the gradient of x is rounded once`, () => assert.ok(errors[0]! < 0.95 * errors[1]!, `${errors}`));

  test(`${level}: one command for layers that are alike, and one for each of others`, async () => {
    const q = { ...asked(2, 3, "none", "nf4"), bias: false, doubleQuant: false };
    const commands = async (layers: readonly LinearLayer[], x: Tensor) => {
      const want = noGrad(() => apart(layers, x));
      const got: Tensor[] = [];
      const recorded = await recordedCommands(device, async () => {
        using captured = device.capture(() => {
          got.push(...noGrad(() => together(layers, x)));
        });
        captured.replay();
        for (const [i, y] of got.entries()) assert.equal(await y.data(), await (want[i] as Tensor).data(), `${i}`);
      });
      return recorded[0];
    };
    const { layers, x } = worldOf(q, drawnFor(q), device, "f32");
    assert.is(await commands(layers, x), 1);
    const at = () => Weights.fresh({ device, trainable: true });
    const [first, second, third] = layers as [LinearLayer, LinearLayer, LinearLayer];
    const lora = new LoraLinear(at(), second, { r: 4, scaling: 2 });
    assert.is(await commands([first, lora, third], x), 1, "with LoRA on one");
    lora.enabled = false;
    assert.is(await commands([first, lora, third], x), 1, "with LoRA that takes no part");
    const other = { ...q, format: "fp4" as const };
    const [odd] = worldOf(other, drawnFor(other), device, "f32").layers as [LinearLayer];
    assert.is(await commands([first, odd], x), 2, "of two formats");
    const dora = new DoraLinear(at(), second, { r: 4, scaling: 2 });
    const scaled = await commands([dora], x);
    assert.is(await commands([first, dora, third], x), scaled, "with DoRA on one, whose rows are scaled behind the product");
    const affine = (part: "in" | "out", width: number) => new AffineLinear(at(), second, { [part]: { name: "s", shape: [width] } });
    assert.is(await commands([first, affine("out", second.outFeatures), third], x), 2, "with a scale behind one");
    assert.is(await commands([first, affine("in", second.inFeatures), third], x), 4, "with a scale before one");
    const drawn = (n: number) => Tensor.from(values(n), [n], { device });
    const shifted = layers.map((base) => {
      const layer = new AffineLinear(at(), base, {});
      [layer.bias, layer.scaleOut] = [drawn(base.outFeatures), drawn(base.outFeatures)];
      return layer;
    });
    assert.is(await commands(shifted, x), 4, "with a bias in each product and a scale behind it");
  });
}

test.run();
