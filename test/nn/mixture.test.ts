// LaVIN's mixture by itself: outputs and gradients, routed by the first row of each item, and as published by the rows of the first item for all.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { forEachRow, Mixture } from "../../lib/nn/mixture.js";
import { Weights } from "../../lib/nn/weights.js";
import { concat, sliceCopy } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest } from "../case.js";

for (const name of caseNames(/^lavin-mixture/)) {
  const c = new Case(name);
  const { dim: width, hidden, groups, scale, t: temperature, route } = c.json() as Record<string, number>;
  const options = { width: width!, hidden: hidden!, groups: groups!, scale: scale!, temperature: temperature!, dropout: 0.1 };
  const open = () => {
    using file = Checkpoint.open(join(c.folder, "model.safetensors"));
    const at = Weights.from(file, { device: here, trainable: true });
    const mixture = new Mixture(at, options);
    at.finish();
    return mixture;
  };
  /** The first item's rows in turn for each item, or the first row of each item for its own. */
  const forward = (mixture: Mixture, x: Tensor) =>
    scope(() => {
      const [N, T, d] = x.shape as [number, number, number];
      const parts = mixture.parts(x);
      if (!route) return mixture.forward(x, forEachRow(mixture.weights(sliceCopy(x, 1, 0, 1).reshape([N, d])), T), parts);
      const weights = mixture.weights(sliceCopy(x, 0, 0, 1).reshape([T, d]));
      return mixture.forward(x, concat(new Array<Tensor>(N).fill(weights), 0), parts);
    });

  test(`${name}: outputs and gradients, every key and no other`, async () => {
    using mixture = open();
    using x = c.tensor("in.x", { requiresGrad: true });
    using y = forward(mixture, x);
    await c.close("out.y", y);
    backward(y, c.tensor("in.grad_y"));
    const gradients = new Map<string, Tensor>([...mixture.namedParameters(), ["x", x]]);
    assert.equal([...gradients.keys()].map((key) => `grad.${key}`).sort(), c.names("grad."));
    for (const [key, { grad }] of gradients) await c.close(`grad.${key}`, grad!);
  });

  test(`${name}: in training it drops the same numbers for both experts, fresh it changes nothing`, async () => {
    using mixture = open();
    using x = c.tensor("in.x");
    const values = async (of: Mixture) => {
      using y = noGrad(() => forward(of, x));
      return (await y.data()) as Float32Array;
    };
    const asked = await values(mixture);
    mixture.training = true;
    const first = await values(mixture);
    assert.not.equal(first, asked);
    assert.not.equal(await values(mixture), first);
    // Its mean is what is computed without.
    const sum = new Float64Array(asked.length);
    const draws = 400;
    for (let i = 0; i < draws; ++i) for (const [k, v] of (await values(mixture)).entries()) sum[k]! += v / draws;
    const far = largest(asked.map((v, k) => v - sum[k]!));
    assert.ok(far < 0.2 * largest(asked), `${far}`);
    using fresh = new Mixture(Weights.fresh({ device: here }), options);
    assert.equal(await values(fresh), await x.data());
  });
}

test.run();
