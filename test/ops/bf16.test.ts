// Every op in bf16 against itself in f32 on the same bf16 inputs: at most the rounding of what is stored (half a unit in the last of 8 bits,
// relative to the largest value of the tensor), times the few roundings that an op stores on the way.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, type DType, scope, Tensor } from "../../lib/index.js";
import { cast } from "../../lib/ops/index.js";
import { Case, caseNames, here, largest } from "../case.js";
import { CALLS, type Subcase } from "./table.js";

const ROUNDING = 2 ** -8;
/** Roundings of stored values on the longest way through an op: an input gradient passes a rounded dy and comes out rounded. */
const STORED = 3;
/** Weights and tables that stay f32, and ops that know f32 alone (native/backend.h). */
const KEEP_F32 = new Set(["bias", "table", "mean", "variance", "s", "g", "t"]);
const ONLY_F32 = new Set(["gru", "contrastiveLoss"]);

async function run(c: Case, s: Subcase, dtype: DType): Promise<Map<string, Float32Array>> {
  const inputs: Record<string, Tensor> = {};
  for (const name of s.inputs) {
    const values = c.values(`in.${s.id}.${name}`);
    const shape = c.shape(`in.${s.id}.${name}`);
    if (values instanceof Int32Array) {
      inputs[name] = Tensor.from(values, shape, { device: here, dtype: "i32" });
      continue;
    }
    // Both runs start from the same numbers: those that bf16 can hold.
    const rounded = await Tensor.from(values, shape, { device: here, dtype: KEEP_F32.has(name) ? "f32" : "bf16" }).data();
    inputs[name] = Tensor.from(rounded, shape, {
      device: here,
      dtype: KEEP_F32.has(name) ? "f32" : dtype,
      requiresGrad: s.trainable.includes(name),
    });
  }
  const y = scope(() => CALLS[s.op]!(inputs, s.attrs));
  const dy = await Tensor.from(c.values(`dy.${s.id}`), y.shape, { device: here, dtype: "bf16" }).data();
  backward(y, Tensor.from(dy, y.shape, { device: here, dtype: y.dtype }));
  const results = new Map([["output", (await y.data()) as Float32Array]]);
  for (const name of s.trainable) results.set(`gradient of ${name}`, (await inputs[name]!.grad!.data()) as Float32Array);
  return results;
}

for (const name of caseNames(/^ops$/)) {
  const c = new Case(name);
  for (const s of c.info.subcases as Subcase[]) {
    if (ONLY_F32.has(s.op)) continue;
    test(`${s.id} in bf16`, async () => {
      const [exact, got] = [await run(c, s, "f32"), await run(c, s, "bf16")];
      for (const [what, want] of exact) {
        const most = largest(want);
        const worst = want.reduce(
          (w, v, i) => Math.max(w, Number.isNaN(got.get(what)![i]) ? Infinity : Math.abs(v - got.get(what)![i]!)),
          0,
        );
        assert.ok(
          worst <= STORED * ROUNDING * most + 1e-6,
          `${s.id}, ${what}: off by ${worst} of ${most}, ${(worst / most / ROUNDING).toFixed(1)} roundings`,
        );
      }
    });
  }
}

test("cast rounds to nearest even, and its gradient comes back in the dtype of the input", async () => {
  const x = Tensor.from(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -0.1, Infinity), [4], { device: here, requiresGrad: true });
  const y = cast(x, "bf16");
  assert.equal([...((await y.data()) as Float32Array)], [1, 1 + 2 ** -6, Math.fround(-0.10009765625), Infinity]);
  backward(y, Tensor.full([4], 0.5, { device: here, dtype: "bf16" }));
  assert.is(x.grad!.dtype, "f32");
  assert.equal([...((await x.grad!.data()) as Float32Array)], [0.5, 0.5, 0.5, 0.5]);
});

test.run();
