// Fresh weights in a quantised storage: the layer is the dense one of the same seed, quantised.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Tensor } from "../../lib/index.js";
import { type Linear, storedLinear } from "../../lib/nn/linear.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import { type Quantization, Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";

const [OUT, IN] = [48, 80];
const made = (quantization?: Quantization) =>
  storedLinear(Weights.fresh({ device: here, trainable: false, seed: 9, ...(quantization && { quantization }) }).at("proj"), IN, OUT);

for (const quantization of [{ format: "nf4", doubleQuant: true }, { format: "int8" }] as const) {
  test(`${quantization.format}: the codes of the dense draw`, async () => {
    await here.synchronize();
    const before = here.memory().tensors;
    const layer = made(quantization);
    const dense = made() as Linear;
    assert.ok(layer instanceof QuantizedLinear && !(dense instanceof QuantizedLinear));
    const want = QuantizedWeight.quantize(dense.weight, quantization);
    const [got, codes] = [layer.weight.tensors(), want.tensors()];
    assert.is(got.length, codes.length);
    for (const [i, tensor] of codes.entries())
      assert.equal(new Uint8Array(await (got[i] as Tensor).bytes()), new Uint8Array(await tensor.bytes()));
    assert.equal(await layer.bias?.data(), await dense.bias?.data());
    for (const owner of [layer, dense, want]) owner.dispose();
    assert.is(here.memory().tensors, before, "what was dense on the way is gone");
  });
}

test.run();
