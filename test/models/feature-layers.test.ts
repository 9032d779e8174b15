// Several hidden states side by side, and class rows, against transformers' LLaVA.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Tensor } from "../../lib/core/tensor.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { sliceCopy } from "../../lib/ops/index.js";
import { Case, caseNames, here } from "../case.js";
import { code, disposeAll } from "./encoders.js";

for (const name of caseNames(/^feature-layers/)) {
  const c = new Case(name);
  /** transformers' -1 is before SigLIP's final norm. */
  const numbered = (layer: number) => (layer === -1 ? Number(c.json().num_hidden_layers) : layer);

  test(`${name}: hidden states as LLaVA chooses them`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = c.tensor("in.pixel_values");
    for (const { layers, strategy, tensor } of c.info.choices as { layers: number | number[]; strategy: string; tensor: string }[]) {
      const skip = strategy === "default" ? encoder.classTokens : 0;
      const { hidden } = noGrad(() => encoder.forward(x, { layer: typeof layers === "number" ? numbered(layers) : layers.map(numbered) }));
      using features = scope(() => sliceCopy(hidden, 1, skip, hidden.shape[1]! - skip));
      assert.equal(features.shape, c.shape(tensor), tensor);
      await c.close(tensor, features);
    }
  });

  test(`${name}: the class token's rows alone`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = c.tensor("in.pixel_values");
    const rows = c.info.class_rows as number[];
    if (!encoder.classTokens)
      return assert.is(
        code(() => encoder.forward(x, { classRows: [1] })),
        "E_VALUE",
      );
    const out = encoder.forward(x, { layer: 0, classRows: rows });
    assert.equal(out.classRows?.shape, [x.shape[0], rows.length, encoder.width]);
    await c.close("out.class_rows", out.classRows!);
    disposeAll(out);
  });

  test(`${name}: a state that there is not, and none`, async () => {
    using encoder = await AutoEncoder.fromPretrained(c.folder, { device: here });
    using x = c.tensor("in.pixel_values");
    for (const layer of [[], [0, 9], [-9], [0.5]])
      assert.is(
        code(() => encoder.forward(x, { layer })),
        "E_VALUE",
        String(layer),
      );
  });
}

test("what has no class token, or states of several widths, says so", async () => {
  for (const [name, shape] of [
    ["imu2clip", [1, 6, 0]],
    ["clap", [1, 1, 20, 0]],
  ] as const) {
    using encoder = await AutoEncoder.fromPretrained(new Case(name).folder, { device: here });
    using x = Tensor.zeros([...shape], { device: here });
    for (const options of [{ layer: [-1, -2] }, { layer: [] }, { classRows: [0] }])
      assert.is(
        code(() => encoder.forward(x, options)),
        "E_VALUE",
        `${name} ${JSON.stringify(options)}`,
      );
  }
});

test.run();
