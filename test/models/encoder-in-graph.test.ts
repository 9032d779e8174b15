// The gradient of a language model's loss through projection and image tower, against transformers' LLaVA; plain, with blocks that run again, and with
// the last block, which nothing asks for, on no tape.
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward } from "../../lib/core/autograd.js";
import { scope } from "../../lib/core/scope.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { AnyMALNetwork } from "../../lib/models/anymal.js";
import { MlpProjector } from "../../lib/models/bridges/mlp.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { recomputeIn } from "../../lib/models/encoder.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Weights } from "../../lib/nn/weights.js";
import { sliceCopy } from "../../lib/ops/index.js";
import { Case, caseNames, here } from "../case.js";
import { some } from "../some.js";

for (const name of caseNames(/^encoder-in-graph/)) {
  const c = new Case(name);
  const rows = c.info.rows as { before: number[]; after: number[] }[];

  async function gradients(recompute: boolean): Promise<Map<string, Float32Array>> {
    using vision = ClipVisionModel.fromPretrained(join(c.folder, "vision"), { device: here, trainable: true });
    using llm = LlamaForCausalLM.fromPretrained(join(c.folder, "llm"), { device: here });
    using file = Checkpoint.openIn(c.folder, "projector.safetensors");
    using projector = new MlpProjector(Weights.from(file, { device: here, trainable: true }), {
      dim: vision.width,
      dimLlm: llm.config.hiddenSize,
      normalize: false,
    });
    const network = new AnyMALNetwork(llm, { image: projector });
    recomputeIn(vision, recompute);
    llm.gradientCheckpointing = recompute;
    using x = c.tensor("in.pixel_values");
    const loss = scope(() => {
      const { hidden } = vision.forward(x, { layer: c.info.layer, through: "hidden" });
      const features = sliceCopy(hidden, 1, 1, hidden.shape[1]! - 1);
      const parts = rows.map(({ before, after }, item) => [
        { ids: before, labels: before.map(() => -100) },
        { modality: "image", item },
        { ids: after, labels: after },
      ]);
      return network.forward({ rows: parts, features: { image: features } }).loss!;
    });
    await c.close("out.loss", loss);
    backward(loss);
    loss.dispose();
    const made = new Map<string, Float32Array>();
    for (const [prefix, module] of [
      ["vision", vision.visionModel],
      ["projector", projector],
    ] as const)
      for (const [key, p] of module.namedParameters(`grad.${prefix}`)) {
        if (!p.grad) continue;
        if (c.has(key)) await c.close(key, p.grad);
        made.set(key, (await p.grad.data()) as Float32Array);
        p.grad.dispose();
      }
    assert.equal([...made.keys()].sort(), [...some(c.names("grad."))].sort());
    for (const p of llm.parameters()) assert.is(p.grad, undefined);
    return made;
  }

  test(`${name}: every gradient of tower and projector; run again in backward they are the same bits`, async () => {
    const plain = await gradients(false);
    const again = await gradients(true);
    for (const [key, values] of plain) assert.equal(again.get(key), values, key);
  });
}

test.run();
