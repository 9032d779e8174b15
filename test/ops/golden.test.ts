// Every differentiable op against PyTorch, outputs and gradients, at every dispatch level of this machine.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, type Device, type DType, scope, Tensor } from "../../lib/index.js";
import * as ops from "../../lib/ops/index.js";
import { Case, caseNames, near } from "../case.js";
import { levels } from "../harness.js";
import { CALLS, ELSEWHERE, type Subcase } from "./table.js";

async function check(c: Case, s: Subcase, d: Device): Promise<void> {
  const inputs: Record<string, Tensor> = {};
  for (const name of s.inputs) {
    const values = c.values(`in.${s.id}.${name}`);
    const dtype: DType = values instanceof Int32Array ? "i32" : "f32";
    inputs[name] = Tensor.from(values, c.shape(`in.${s.id}.${name}`), { device: d, dtype, requiresGrad: s.trainable.includes(name) });
  }
  const y = scope(() => CALLS[s.op]!(inputs, s.attrs));
  const got = (await y.data()) as Float32Array;
  near(got, c.values(`out.${s.id}`), c.atol(`out.${s.id}`), `${s.id} on ${d.describe()}`);
  assert.equal(y.shape, c.shape(`out.${s.id}`), `${s.id}: shape`);
  const dy = Tensor.from(c.values(`dy.${s.id}`), y.shape, { device: d });
  backward(y, dy);
  for (const name of s.trainable) {
    const grad = inputs[name]!.grad;
    assert.ok(grad, `${s.id}: no gradient of ${name}`);
    near(
      await grad.data(),
      c.values(`grad.${s.id}.${name}`),
      c.atol(`grad.${s.id}.${name}`),
      `${s.id}: gradient of ${name} on ${d.describe()}`,
    );
    grad.dispose();
  }
  for (const tensor of [y, dy, ...Object.values(inputs)]) tensor.dispose();
}

for (const name of caseNames(/^ops$/)) {
  const c = new Case(name);
  const subcases = c.info.subcases as Subcase[];
  for (const [level, d] of levels()) {
    for (const op of new Set(subcases.map((s) => s.op))) {
      test(`${op}, ${level}`, async () => {
        const before = d.memory().bytesInUse;
        for (const s of subcases.filter((s) => s.op === op)) await check(c, s, d);
        await d.synchronize();
        assert.is(d.memory().bytesInUse, before, `${op} leaves memory behind`);
      });
    }
  }
  test("no op is forgotten", () => {
    const tested = new Set([...subcases.map((s) => s.op), ...Object.keys(ELSEWHERE)]);
    const functions = Object.entries(ops).filter(([, value]) => typeof value === "function");
    assert.equal(
      functions.map(([op]) => op).filter((op) => !tested.has(op)),
      [],
    );
    assert.equal(
      Object.keys(CALLS).filter((op) => !tested.has(op)),
      [],
    );
  });
}

test.run();
