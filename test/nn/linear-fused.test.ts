// A layer that is no plain one any more (an adapter stands around it, or it is stored otherwise) is asked itself: a resampler of such layers gives what
// one of plain layers gives, in values and gradients.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, Tensor } from "../../lib/index.js";
import { Resampler, type ResamplerForm } from "../../lib/models/bridges/perceiver.js";
import { Linear } from "../../lib/nn/index.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";
import { random } from "../harness.js";

/** Counts how often it is asked. */
class Asked extends Linear {
  times = 0;
  override forward(x: Tensor): Tensor {
    ++this.times;
    return super.forward(x);
  }
}

const [DIM, LATENTS] = [12, 5];

async function run(form: ResamplerForm, path: string | undefined): Promise<{ times: number; found: Map<string, Float32Array> }> {
  const config = { form, dim: DIM, depth: 1, heads: 2, dimHead: 4, latents: LATENTS, frames: 2, ffBias: true };
  const model = new Resampler(Weights.fresh({ seed: 1, device: here, trainable: true }), config);
  let asked: Asked | undefined;
  if (path) {
    const { inFeatures, outFeatures, weight, bias } = model.child(path) as Linear;
    asked = new Asked(weight, inFeatures, outFeatures);
    asked.bias = bias;
    model.replace(path, asked);
  }
  const draw = random(3);
  const drawn = (...shape: number[]) =>
    Tensor.from(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => draw()),
      shape,
      { device: here },
    );
  const x = drawn(2, 7, DIM);
  x.requiresGrad = true;
  const y = model.forward(x);
  backward(y, drawn(2, LATENTS, DIM));
  const found = new Map([["output", Float32Array.from(await y.data())]]);
  for (const [name, t] of [["input", x] as const, ...model.namedParameters()])
    found.set(name, Float32Array.from((await t.grad?.data()) ?? []));
  return { times: asked?.times ?? 0, found };
}

const NAMES = {
  flamingo: { layer: "layers.0", fields: { q: 1, k: 2, v: 2, out: 1, fc1: 1, fc2: 1 } },
  openflamingo: { layer: "layers.0", fields: { "0.to_q": 1, "0.to_kv": 2, "0.to_out": 1, "1.1": 1, "1.3": 1 } },
} as const;

for (const [form, { layer, fields }] of Object.entries(NAMES))
  test(`${form}: each layer of its own`, async () => {
    const { found: want } = await run(form as ResamplerForm, undefined);
    for (const [field, times] of Object.entries(fields)) {
      const got = await run(form as ResamplerForm, `${layer}.${field}`);
      assert.is(got.times, times, field);
      assert.equal([...got.found.keys()].sort(), [...want.keys()].sort());
      for (const [name, values] of got.found) {
        const expected = want.get(name) as Float32Array;
        assert.ok(expected.length > 0 && values.length === expected.length, name);
        const largest = expected.reduce((a, v) => Math.max(a, Math.abs(v)), 0);
        for (const [i, v] of values.entries())
          assert.ok(Math.abs(v - (expected[i] as number)) <= 2e-6 * largest, `${field}, ${name}, ${i}: ${v} in place of ${expected[i]}`);
      }
    }
  });

test.run();
