// Wraps by path: what they are called, how several stand around each other, and how one is taken out of the middle.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, checkpoint, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { innermost, places, rebase, touched, unchanged, unwrap, Wrap, wrap, wrapAll, wrapsOn } from "../../lib/nn/layer.js";
import { Linear, type LinearLayer } from "../../lib/nn/linear.js";
import { GatedMlp } from "../../lib/nn/mlp.js";
import { Module } from "../../lib/nn/module.js";
import { Weights } from "../../lib/nn/weights.js";
import { add, mul, sum } from "../../lib/ops/index.js";
import { here } from "../case.js";

const [C, HIDDEN] = [4, 6];

/** y = base(x) · factor, with a layer of its own beside, which no place of the model may be taken for. */
class Scaled extends Wrap<LinearLayer> implements LinearLayer {
  factor: Tensor;
  inside: Linear;
  constructor(base: LinearLayer, owner: string, value: number) {
    super(base, owner);
    this.factor = Tensor.full([base.outFeatures], value, { device: here });
    this.factor.requiresGrad = true;
    this.inside = new Linear(Weights.fresh({ device: here, seed: 9 }), 2, 2);
  }
  get inFeatures() {
    return this.base.inFeatures;
  }
  get outFeatures() {
    return this.base.outFeatures;
  }
  forward(x: Tensor): Tensor {
    return this.enabled ? mul(this.inner.forward(x), this.factor) : this.inner.forward(x);
  }
}
class Stack extends Module {
  layers = [0, 1].map((i) => new GatedMlp(Weights.fresh({ device: here, seed: i, trainable: false }), C, HIDDEN));
  forward(x: Tensor): Tensor {
    return scope(() => this.layers.reduce((h, layer) => add(h, layer.forward(h)), x));
  }
}
const PATH = "layers.1.down_proj";
const scaled = (owner: string, value: number) => (base: Module) => new Scaled(base as LinearLayer, owner, value);
const input = () => Tensor.from([0.5, -1, 2, 0.25, 1, 1, -2, 3], [2, C], { device: here });
const answer = async (model: Stack) => {
  using x = input();
  using y = noGrad(() => model.forward(x));
  return y.data();
};
const names = (model: Module) => [...model.namedParameters()].map(([name]) => name);

test("the base keeps its names, and each wrap has its own below its owner's", () => {
  using model = new Stack();
  const before = names(model);
  wrap(model, PATH, scaled("a", 2));
  wrap(model, PATH, scaled("b", 3));
  assert.equal(
    names(model)
      .filter((name) => !before.includes(name))
      .sort(),
    ["a", "b"].flatMap((owner) => ["factor", "inside.bias", "inside.weight"].map((name) => `${PATH}.${owner}.${name}`)),
  );
  assert.is(names(model).filter((name) => name === `${PATH}.weight`).length, 1);
  const outermost = model.child(PATH) as Module;
  assert.equal(
    wrapsOn(outermost).map(({ owner }) => owner),
    ["b", "a"],
  );
  assert.ok(innermost(outermost) instanceof Linear);
  assert.is(model.child(`${PATH}.a.inside`), (wrapsOn(outermost)[1] as Scaled).inside);
  // What a wrap owns is none of the model's places, and each place is there once.
  const paths = Array.from(places(model), ([path]) => path);
  assert.equal(
    paths.filter((path) => path.startsWith(PATH)),
    [PATH],
  );
  assert.is(new Set(paths).size, paths.length);
  // A tensor of the layer itself is found behind all that stands around it.
  const weight = (innermost(outermost) as Linear).weight;
  using other = Tensor.zeros(weight.shape, { device: here });
  assert.is(model.replace(`${PATH}.weight`, other), weight);
  model.replace(`${PATH}.weight`, weight);
});

test("wraps are taken off in any order: what stays computes what it does alone, bit for bit", async () => {
  using model = new Stack();
  const bare = await answer(model);
  const alone: Record<string, unknown> = {};
  const values = { a: 2, b: 0.3, c: -1.7 };
  for (const [owner, value] of Object.entries(values)) {
    wrap(model, PATH, scaled(owner, value));
    alone[owner] = await answer(model);
    assert.not.equal(alone[owner], bare);
    unwrap(model, PATH, owner).release();
  }
  const { tensors } = here.memory();
  for (const order of ["abc", "acb", "bac", "bca", "cab", "cba"]) {
    for (const [owner, value] of Object.entries(values)) wrap(model, PATH, scaled(owner, value));
    const [first, second, last] = order.split("") as [string, string, string];
    for (const owner of [first, second]) {
      const off = unwrap(model, PATH, owner);
      assert.is(off.owner, owner);
      off.release();
    }
    assert.equal(await answer(model), alone[last], order);
    unwrap(model, PATH, last).release();
    assert.equal(await answer(model), bare, order);
  }
  assert.is(here.memory().tensors, tensors);
});

test("a wrap that is disabled computes what its base does, wherever it stands", async () => {
  using model = new Stack();
  const bare = await answer(model);
  const made = ["a", "b"].map((owner) => wrap(model, PATH, scaled(owner, 5)));
  for (const one of made) one.enabled = false;
  assert.equal(await answer(model), bare);
  assert.is(made[1]!.inner, innermost(made[1]!));
  made[1]!.enabled = true;
  const b = await answer(model);
  unwrap(model, PATH, "a").release();
  assert.equal(await answer(model), b);
  rebase(model, PATH, innermost(made[1]!));
  assert.equal(await answer(model), b);
});

test("a path where nothing stands, a name that is taken and one that is none are refused, and nothing is put in", () => {
  using model = new Stack();
  const before = names(model);
  const refused = (why: RegExp) => (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message);
  assert.throws(
    () => wrap(model, "layers.1.down_prj", scaled("a", 2)),
    refused(/layers\.1\.down_prj.*did you mean "layers\.1\.down_proj"/),
  );
  assert.throws(() => wrap(model, "down_proj", scaled("a", 2)), refused(/did you mean "layers\.0\.down_proj"/));
  assert.throws(() => wrap(model, "layrs.1.down_proj", scaled("a", 2)), refused(/did you mean "layers"/));
  assert.throws(() => wrap(model, `${PATH}.weight`, scaled("a", 2)), refused(/nothing stands/));
  assert.throws(() => unwrap(model, PATH, "a"), refused(/"a".*none/));
  const half = [[PATH, scaled("a", 2)] as const, ["nowhere.at.all", scaled("a", 2)] as const];
  assert.throws(() => wrapAll(model, half), refused(/nowhere\.at\.all/));
  assert.equal(names(model), before);
  for (const owner of ["a.b", "", "weight"]) assert.throws(() => wrap(model, PATH, scaled(owner, 2)), refused(/name/), owner);
  wrap(model, PATH, scaled("a", 2));
  assert.throws(() => wrap(model, PATH, scaled("a", 2)), refused(/another name/));
  assert.throws(() => wrap(model, "layers.1", (base) => new (class extends Wrap {})(base, "down_proj")), refused(/down_proj/));
});

test("what stands in a recomputed layer may not change between its forward and its backward; elsewhere it may", async () => {
  using model = new Stack();
  using other = new Stack();
  const one = wrap(model, PATH, scaled("a", 2)) as Scaled;
  const far = wrap(other, PATH, scaled("a", 2));
  const loss = () => {
    const layer = model.layers[1] as GatedMlp;
    return scope(() => {
      const same = unchanged(layer);
      const run = (y: Tensor) => {
        same();
        return layer.forward(y);
      };
      return sum(checkpoint(run, input()));
    });
  };
  const changes: [string, () => void][] = [
    ["switched", () => (one.enabled = false)],
    ["wrapped", () => wrap(model, "layers.1.up_proj", scaled("b", 2))],
    ["unwrapped", () => unwrap(model, "layers.1.up_proj", "b").release()],
    ["exchanged", () => touched(model.child(PATH) as Module)],
  ];
  for (const [what, change] of changes) {
    using y = loss();
    change();
    one.enabled = true;
    assert.throws(() => backward(y), (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && /recomputed/.test(error.message), what); // biome-ignore format: one line
  }
  far.enabled = false;
  one.factor.grad?.dispose();
  one.factor.grad = undefined;
  using y = loss();
  far.enabled = true;
  wrap(model, "layers.0.up_proj", scaled("b", 2));
  backward(y);
  assert.ok((await one.factor.grad!.data()).some((v) => v !== 0));
});

test.run();
