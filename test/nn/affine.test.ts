// Vectors around a linear layer: out ⊙ (base(in ⊙ x) + bias), by hand; and merged, a layer that computes the same.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { AffineLinear } from "../../lib/nn/affine.js";
import { foldIn } from "../../lib/nn/fold.js";
import { wrap } from "../../lib/nn/layer.js";
import { Linear, type LinearLayer } from "../../lib/nn/linear.js";
import { Module } from "../../lib/nn/module.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";

class Around extends Module {
  proj: LinearLayer;
  constructor(bias: boolean) {
    super();
    this.proj = new Linear(Weights.fresh({ device: here, seed: 3 }), 3, 2, { bias });
  }
}
const X = [1, -2, 0.5];
const VECTORS = { in: [2, 3, -1], bias: [0.25, -4], out: [-0.5, 8] };
const numbers = async (t: Tensor | undefined) => (t ? Array.from((await t.data()) as Float32Array) : [0, 0]);
async function answer(model: Around): Promise<number[]> {
  using x = Tensor.from(X, [1, 3], { device: here });
  using y = noGrad(() => model.proj.forward(x));
  return numbers(y);
}
const near = (got: readonly number[], want: readonly number[], what: string) =>
  assert.ok(got.length === want.length && want.every((value, i) => Math.abs(value - got[i]!) < 1e-5), `${what}: ${got}, not ${want}`);

for (const bias of [true, false])
  for (const given of [["in", "bias", "out"], ["bias"], ["in", "bias"], ["bias", "out"], ["in"], ["out"]] as const)
    test(`${given.join(", ")} around a layer ${bias ? "with" : "without"} a bias`, async () => {
      using model = new Around(bias);
      const base = model.proj as Linear;
      const [weight, own] = [await numbers(base.weight), await numbers(base.bias)];
      const sizes = { in: 3, bias: 2, out: 2 };
      const named = Object.fromEntries(given.map((name) => [name, { name, shape: [sizes[name]] }]));
      const make = (below: Module) => new AffineLinear(Weights.fresh({ device: here }), below as LinearLayer, named);
      const around = wrap(model, "proj", make) as AffineLinear;
      const value = (name: keyof typeof VECTORS, i: number, without: number) =>
        (given as readonly string[]).includes(name) ? VECTORS[name][i]! : without;
      const tensors = { in: around.scaleIn, bias: around.bias, out: around.scaleOut };
      for (const name of given) tensors[name]!.write(Float32Array.from(VECTORS[name]));
      const want = [0, 1].map((o) => {
        const sum = X.reduce((y, x, i) => y + weight[3 * o + i]! * x * value("in", i, 1), own[o]!);
        return (sum + value("bias", o, 0)) * value("out", o, 1);
      });
      near(await answer(model), want, "around");
      around.enabled = false;
      const bare = [0, 1].map((o) => X.reduce((y, x, i) => y + weight[3 * o + i]! * x, own[o]!));
      near(await answer(model), bare, "switched off");
      around.enabled = true;
      foldIn(model, "proj", around);
      model.replace<Module>("proj", base);
      around.release();
      near(await answer(model), want, "merged");
    });

test("over a quantised layer a bias is part of the product, and adds what it says", async () => {
  using model = new Around(false);
  const dense = model.proj;
  const make = () => QuantizedWeight.quantize((dense as Linear).weight, { format: "nf4" });
  model.proj = new QuantizedLinear(make());
  dense.dispose();
  const bare = await answer(model);
  const named = { bias: { name: "bias", shape: [2] } };
  const around = wrap(model, "proj", (below) => new AffineLinear(Weights.fresh({ device: here }), below as LinearLayer, named)) as AffineLinear; // biome-ignore format: one line
  around.bias!.write(Float32Array.from(VECTORS.bias));
  near(await answer(model), bare.map((y, o) => y + VECTORS.bias[o]!), "with a bias"); // biome-ignore format: one line
});

test.run();
