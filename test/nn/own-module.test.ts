// A network of one's own out of public names alone: its layers, their parameters, a wrap around one of them, and a training.
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as anymal from "../../lib/index.js";
import {
  Embedding,
  type Init,
  Linear,
  type LinearLayer,
  Module,
  nn,
  ops,
  optimize,
  Tensor,
  unwrap,
  Weights,
  Wrap,
  wrap,
} from "../../lib/index.js";
import { here } from "../case.js";

const near: Init = { normal: 0.5 };

class Parity extends Module {
  table: Embedding;
  up: Linear;
  down: Linear;
  constructor(at: Weights) {
    super();
    this.table = new Embedding(at.at("table"), 2, 4, { std: 1 });
    this.up = new Linear(at.at("up"), 8, 16, { init: near });
    this.down = new Linear(at.at("down"), 16, 1, { init: near });
  }
  /** Two bits (B,2) i32 → (B,1). */
  forward(bits: Tensor): Tensor {
    const x = this.table.forward(bits).reshape([bits.shape[0] as number, 8]);
    return this.down.forward(ops.activation(this.up.forward(x), "gelu"));
  }
}

class Twice extends Wrap<LinearLayer> {
  forward(x: Tensor): Tensor {
    return ops.scale(this.inner.forward(x), 2);
  }
}

const fresh = () => new Parity(Weights.fresh({ device: here, trainable: true, seed: 1 }));

test("it learns what no linear layer can", async () => {
  using model = fresh();
  assert.equal(Array.from(model.namedParameters(), ([name]) => name).sort(), [
    "down.bias",
    "down.weight",
    "table.weight",
    "up.bias",
    "up.weight",
  ]);
  using bits = Tensor.from(Int32Array.of(0, 0, 0, 1, 1, 0, 1, 1), [4, 2], { device: here });
  using wrong = Tensor.from(Float32Array.of(0, -1, -1, 0), [4, 1], { device: here }); // minus what is right
  const lossOf = () => {
    const off = ops.add(model.forward(bits), wrong);
    return { loss: ops.sum(ops.mul(off, off)).reshape([1]), items: 4 };
  };
  const losses: number[] = [];
  for await (const { loss } of optimize(model.namedParameters(), lossOf, { steps: 120, learningRate: 0.03, weightDecay: 0 }))
    losses.push(loss);
  assert.ok((losses.at(-1) as number) < 0.01, `${losses[0]} to ${losses.at(-1)}`);
});

test("a wrap of one's own stands around a layer, keeps its names, and is taken off", async () => {
  using model = fresh();
  using x = Tensor.full([1, 16], 1, { device: here });
  const output = async () => Array.from((await anymal.scope(() => anymal.keep(model.down.forward(x))).data()) as Float32Array);
  const [plain] = await output();
  const names = Array.from(model.namedParameters(), ([name]) => name);
  wrap(model, "down", (base) => new Twice(base as LinearLayer, "twice"));
  assert.equal(await output(), [2 * (plain as number)]);
  assert.equal(
    Array.from(model.namedParameters(), ([name]) => name),
    names,
  );
  unwrap(model, "down", "twice").release();
  assert.equal(await output(), [plain]);
});

test("what has a namespace is the same by both names", () => {
  for (const [space, names] of [
    [ops, ["add", "linear", "attention"]],
    [nn, ["Linear", "Embedding", "Module", "Wrap", "Weights"]],
    [anymal.data, ["readCaptions", "Batches", "FeatureCache"]],
    [anymal.scoring, ["scoreVqa", "blank", "askHeldOut"]],
  ] as const)
    for (const name of names) assert.is((space as Record<string, unknown>)[name], (anymal as Record<string, unknown>)[name], name);
});

test("what cannot be is refused by a class that can be caught", () => {
  using model = fresh();
  assert.throws(
    () => model.loadState(new Map()),
    (error: unknown) => error instanceof anymal.StateError && error instanceof anymal.AnymalError,
  );
  assert.throws(
    () => anymal.trainBpe(["a"], { vocabSize: 3 }),
    (error: unknown) => (error as anymal.AnymalError).code === "E_VALUE",
  );
});

test.run();
