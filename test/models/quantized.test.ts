// Checkpoints that bitsandbytes wrote: logits, loss and the gradient through frozen quantised weights.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { backward, noGrad } from "../../lib/core/autograd.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig, readConfig } from "../../lib/models/llama-config.js";
import { QuantizedLinear } from "../../lib/nn/quantized-linear.js";
import { Weights } from "../../lib/nn/weights.js";
import { Case, caseNames, here, largest, near } from "../case.js";

// With a threshold this low every column of x counts as an outlier and goes in full precision: int8 as mere storage.
const EVERY_COLUMN = 1e-30;

function load(c: Case, dtype: "f32" | "bf16", int8Threshold?: number): LlamaForCausalLM {
  using checkpoint = Checkpoint.open(c.folder);
  return new LlamaForCausalLM(Weights.from(checkpoint, { device: here, dtype, int8Threshold }), parseLlamaConfig(readConfig(c.folder)));
}

for (const name of caseNames(/^quant_llama/)) {
  const c = new Case(name);
  const inputIds = c.rows("in.input_ids");
  const labels = c.rows("in.labels");
  const { max_abs_logit, err64_logits_f32, bf16_vs_f32_wbf16 } = c.info.measured;

  test(`${name}: f32 arithmetic, loss and gradient`, async () => {
    using model = load(c, "f32", EVERY_COLUMN);
    const quantised = [...model.namedModules()].filter(([, module]) => module instanceof QuantizedLinear).map(([path]) => path);
    assert.equal(quantised.sort(), c.info.quantised_layers);
    const inputsEmbeds = model.embed(inputIds);
    inputsEmbeds.requiresGrad = true;
    const { logits, loss } = model.forward({ inputsEmbeds }, { labels, logits: "all" });
    backward(loss!);
    await c.close("out.logits_f32", logits!, { atol: 1e-5 * max_abs_logit + 10 * err64_logits_f32 });
    await c.close("out.loss_f32", loss!, { atol: 1e-5 * (1 + largest(c.values("out.loss_f32"))) });
    await c.close("grad.inputs_embeds_f32", inputsEmbeds.grad!, { atol: 1e-4 * largest(c.values("grad.inputs_embeds_f32")) });
  });

  test(`${name}: bf16 arithmetic`, async () => {
    using model = load(c, "bf16", EVERY_COLUMN);
    const { logits } = noGrad(() => model.forward({ inputIds }));
    await c.close("out.logits_bf16", logits!, { atol: 3 * bf16_vs_f32_wbf16 });
  });

  test(`${name}: the numbers that the codes stand for`, async () => {
    using model = load(c, "f32");
    const { layer } = c.info.probe;
    const [, module] = [...model.namedModules()].find(([path]) => path === layer)!;
    const want = c.values("out.probe_weight_f32");
    near(await (module as QuantizedLinear).weight.dequantize().data(), want, 1e-6 * largest(want), `${name}: ${layer}`);
  });

  if (c.has("out.logits_llmint8_f16")) {
    test(`${name}: LLM.int8 with its own threshold`, async () => {
      using model = LlamaForCausalLM.fromPretrained(c.folder, { device: here, dtype: "f32" });
      const { logits } = noGrad(() => model.forward({ inputIds }));
      await c.close("out.logits_llmint8_f16", logits!, { atol: 0.1 * max_abs_logit });
    });
  }

  test(`${name}: another format than the stored one is refused`, () => {
    const stored = c.info.case.includes("int8") ? "nf4" : "int8";
    const asked = () => LlamaForCausalLM.fromPretrained(c.folder, { device: here, quantization: { format: stored } });
    assert.throws(asked, (e: { code?: string }) => e.code === "E_STATE");
  });
}

test.run();
