// A norm and what goes past it: one op where an RMSNorm stands there and nothing else; what stands in its place, or around it, is asked itself.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, Tensor as Made, type Tensor } from "../../lib/index.js";
import { type Plain, Wrap } from "../../lib/nn/layer.js";
import { BareLayerNorm, RMSNorm, withPast, withSum } from "../../lib/nn/norm.js";
import { Weights } from "../../lib/nn/weights.js";
import { add, mul, rmsNorm, scale } from "../../lib/ops/index.js";
import { here } from "../case.js";
import { random } from "../harness.js";

const [N, C, EPS] = [5, 12, 1e-5];
const draw = random(4);
const drawn = () => Made.from(Float32Array.from({ length: N * C }, draw), [N, C], { device: here });
const fresh = () => new RMSNorm(Weights.fresh({ seed: 1, device: here, trainable: true }), C, EPS);
const numbers = async (t: Tensor) => Array.from(await t.data());

class Doubled extends RMSNorm {
  override forward(x: Tensor): Tensor {
    return scale(super.forward(x), 2);
  }
}
class Around extends Wrap<Plain> {
  forward(x: Tensor): Tensor {
    return scale(this.inner.forward(x), 2);
  }
}
const OTHERS: Record<string, () => Plain> = {
  "one of its own kind": () => new Doubled(Weights.fresh({ seed: 1, device: here, trainable: true }), C, EPS),
  "a wrap": () => new Around(fresh(), "other"),
  "another norm": () => new BareLayerNorm(Weights.fresh({ seed: 1, device: here, trainable: true }), C, EPS),
  "one whose forward was exchanged": () => {
    const norm = fresh();
    norm.forward = (x) => scale(rmsNorm(x, norm.weight, EPS), 3);
    return norm;
  },
};

for (const [what, make] of Object.entries({ ...OTHERS, "the norm itself": fresh }))
  test(`${what}: what comes out, and what flows back, is that of a sum and the norm of it`, async () => {
    const norm = make();
    const [a, b, dy] = [drawn(), drawn(), drawn()];
    const run = async (pair: (a: Tensor, b: Tensor) => [Tensor, Tensor]) => {
      const leaves = [a, b].map((t) => {
        const own = t.detach();
        own.requiresGrad = true;
        return own;
      }) as [Tensor, Tensor];
      for (const p of norm.trainable()) {
        p.grad?.dispose();
        p.grad = undefined;
      }
      const [sum, y] = pair(...leaves);
      backward(mul(sum, y), dy);
      return Promise.all([sum, y, ...leaves.map(({ grad }) => grad!), ...norm.trainable().map(({ grad }) => grad!)].map(numbers));
    };
    const want = await run((x, z) => {
      const sum = add(x, z);
      return [sum, norm.forward(sum)];
    });
    const near = (got: number[][], said: string) => {
      for (const [i, values] of want.entries())
        for (const [j, v] of values.entries())
          assert.ok(Math.abs((got[i]?.[j] as number) - v) <= 1e-5 * (1 + Math.abs(v)), `${said}, ${i}, ${j}: ${got[i]?.[j]} for ${v}`);
    };
    near(await run((x, z) => withSum(norm, x, z)), "withSum");
    near(await run((x, z) => withPast(norm, add(x, z))), "withPast");
  });

test.run();
