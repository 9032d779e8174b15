// Bridges by their table: outputs and gradients of those that others published, names as they have them, and what each says of itself.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import {
  BRIDGE_NAMES,
  type BRIDGES,
  type BridgeOptions,
  type BridgeSetup,
  completeBridge,
  kindProblem,
  makeBridge,
  readsVector,
  selects,
  setupMisfit,
  setupSchema,
} from "../../lib/models/bridges/index.js";
import { type Bridge, openBridge } from "../../lib/models/bridges/kind.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here } from "../case.js";

function build(c: Case, at: Weights): Bridge {
  // biome-ignore lint/suspicious/noExplicitAny: the reference's config differs by kind
  const { projector: type, dim, dim_llm, ...options }: any = c.json();
  if (c.json().kind === "v2-visual-path") {
    const { clip_dim, depth, heads, queries, llm_dim } = options;
    return makeBridge(at, completeBridge({ type: "query-vit", queries, layers: depth, width: dim, heads, normalize: false }, clip_dim, 0), llm_dim); // biome-ignore format: one line
  }
  return makeBridge(at, completeBridge({ type, ...options, normalize: false }, dim, 0), dim_llm);
}

for (const name of [...caseNames(/^(mlp-|concat-linear)/), ...caseNames(/^v2-visual-path/)]) {
  const c = new Case(name);
  test(`${name}: output and gradients, every key and no other`, async () => {
    using checkpoint = Checkpoint.open(join(c.folder, "model.safetensors"));
    const at = Weights.from(checkpoint, { device: here, trainable: true });
    using bridge = build(c, at);
    at.finish();
    assert.equal([...bridge.namedParameters()].map(([n]) => n).sort(), [...checkpoint.names()].sort());
    const x = c.tensor("in.x", { requiresGrad: true });
    const y = bridge.forward(x);
    await c.close("out.y", y);
    assert.is(bridge.rows(x.shape.slice(1)), y.shape[1]);
    backward(y, c.tensor("in.grad_y"));
    const gradients = new Map<string, Tensor>([...bridge.namedParameters(), ["x", x]]);
    for (const key of c.names("grad.")) await c.close(key, gradients.get(key.slice("grad.".length))!.grad!);
  });
}

const ASKED: Readonly<Record<keyof typeof BRIDGES, readonly BridgeOptions[]>> = {
  resampler: [
    { type: "resampler", layers: 1, tokens: 3 },
    { type: "resampler", layers: 1, tokens: 3, form: "idefics", heads: 2, normalize: false },
    { type: "resampler", layers: 1, tokens: 3, form: "openflamingo", heads: 3, dimHead: 4, headNorm: true },
  ],
  linear: [{ type: "linear" }, { type: "linear", mode: "pooled", tokens: 5 }, { type: "linear", norm: true }],
  mlp: [{ type: "mlp" }, { type: "mlp", hidden: 6, activation: "silu", bias: false, normalize: "layernorm" }],
  "clip-pool": [{ type: "clip-pool" }, { type: "clip-pool", temporal: 5, normalize: false }],
  "concat-linear": [{ type: "concat-linear" }, { type: "concat-linear", patches: 2, normalize: false }],
  "q-former": [
    { type: "q-former", width: 12, layers: 3, queries: 5, heads: 3 },
    {
      type: "q-former",
      width: 8,
      layers: 1,
      hidden: 6,
      every: 1,
      queries: 2,
      normalize: "layernorm",
      activation: "relu",
      text: true,
      frozen: true,
    },
  ],
  "query-vit": [{ type: "query-vit", queries: 3, layers: 1, width: 8, heads: 2 }],
};
const setups = BRIDGE_NAMES.flatMap((name) => ASKED[name]).map((asked) => completeBridge(asked, 8, 2));
const fresh = () => Weights.fresh({ device: here, seed: 4 });
const features = (shape: readonly number[]) =>
  Tensor.from(
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
    shape,
    { device: here },
  );

test("the rows that a bridge announces are those that come, of pictures, of clips, and of a single row", () => {
  for (const setup of setups) {
    using bridge = makeBridge(fresh(), setup, 12);
    const shapes = readsVector(setup) ? [[8]] : [[4, 8], [3, 4, 8], ...(setup.type === "concat-linear" ? [] : [[1, 8]])];
    for (const shape of shapes) {
      using x = features([2, ...shape]);
      using y = noGrad(() => bridge.forward(x));
      assert.equal(y.shape, [2, bridge.rows(shape), 12], `${JSON.stringify(setup)} of [${shape}]`);
    }
  }
});

test("a setup says all that there is to say, in JSON, and is read as it was written", () => {
  for (const setup of setups) {
    const read = JSON.parse(JSON.stringify(setup)) as BridgeSetup;
    assert.equal(read, setup);
    for (const [key, check] of Object.entries(setupSchema(read)))
      assert.ok(check.fits((read as unknown as Record<string, unknown>)[key]), `${setup.type}: ${key} is ${check.wanted}`);
    assert.equal(
      Object.keys(read).filter((key) => key !== "type" && !Object.hasOwn(setupSchema(read), key)),
      [],
    );
    assert.is(setupMisfit(read), undefined);
    assert.ok(selects(read).length);
  }
  assert.equal(setupMisfit({ ...setups[0], heads: 3 } as BridgeSetup)?.[0], "heads");
});

test("what is measured stays closed when a bridge opens", () => {
  using bridge = makeBridge(fresh(), completeBridge({ type: "mlp" }, 8, 0), 12);
  openBridge(bridge, true);
  assert.equal(
    [...bridge.namedParameters()].filter(([, p]) => p.requiresGrad).map(([name]) => name),
    ["linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"],
  );
});

test("patches are neighbours of one frame; what does not divide is told", async () => {
  using bridge = makeBridge(fresh(), completeBridge({ type: "concat-linear", patches: 2, normalize: false }, 3, 0), 5);
  using clip = features([1, 2, 4, 3]);
  using both = noGrad(() => bridge.forward(clip));
  using second = noGrad(() => bridge.forward(clip.slice(0, 1).reshape([2, 4, 3])));
  assert.equal(await both.data(), await second.data());
  using odd = features([1, 5, 3]);
  assert.throws(() => bridge.forward(odd), /multiple of 2 patches, got 5.*patch/);
  assert.throws(() => bridge.rows([5, 3]), /multiple of 2 patches/);
});

test("beside the text: no rows of its own, as wide as the features from a resampler", () => {
  for (const setup of setups) {
    using bridge = makeBridge(fresh(), { ...setup, gives: "beside" }, 12);
    const shape = readsVector(setup) ? [8] : [4, 8];
    assert.is(bridge.rows(shape), 0);
    using x = features([1, ...shape]);
    using y = noGrad(() => bridge.forward(x));
    assert.is(y.shape.at(-1), setup.type === "resampler" ? 8 : 12);
    // What a norm stands behind has no scale of its own.
    assert.is(bridge.output === undefined, ["resampler", "query-vit"].includes(setup.type) || ("norm" in setup && setup.norm === true));
  }
});

test("a kind that nobody knows is told with the nearest one", () => {
  assert.match(kindProblem({ type: "resampller" })!.next, /"resampler"/);
  assert.match(kindProblem({ type: "concatLinear" })!.next, /"concat-linear"/);
  assert.match(kindProblem({ type: "constructor" })!.wanted, /resampler, linear, mlp, concat-linear/);
  assert.ok(kindProblem({}) && kindProblem(undefined) && kindProblem("mlp"));
  assert.is(kindProblem({ type: "mlp" }), undefined);
});

test.run();
