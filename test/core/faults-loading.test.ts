// Whatever step of a load fails: it is told under a code, nothing stays on the device, and the next load works.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import { exportMerged } from "../../lib/adapters/export.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { AutoEncoder } from "../../lib/models/auto-encoder.js";
import { completeBridge, makeBridge } from "../../lib/models/bridges/index.js";
import { LinearProjector } from "../../lib/models/bridges/linear.js";
import { ResamplerProjector } from "../../lib/models/bridges/resampler.js";
import { ClipModel } from "../../lib/models/clip.js";
import { ClipTextModel } from "../../lib/models/clip-text.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Weights } from "../../lib/nn/weights.js";
import { type Toy, toy } from "../anymal/toy.js";
import { Case, caseFolder, here } from "../case.js";
import { sweep } from "../faults.js";

const test = suite("faults in loading");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const llama = (options = {}) => LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here, ...options });

for (const [kind, folder, options] of [
  ["dense", "llama2", {}],
  ["bf16", "llama2", { dtype: "bf16" }],
  ["to train", "llama2", { trainable: true, dtype: "bf16" }],
  ["nf4, maxima too", "llama2", { quantization: { format: "nf4", doubleQuant: true } }],
  ["int8", "llama2", { quantization: { format: "int8" } }],
  ["stored in nf4, maxima too", "quant_llama_nf4_dq", {}],
  ["stored in int8", "quant_llama_int8", {}],
  ["GGUF", "gguf-llama/model.gguf", {}],
] as const)
  test(`a language model: ${kind}`, () =>
    sweep(kind, async () => {
      const model = await AutoModelForCausalLM.fromPretrained(caseFolder(folder), { device: here, ...options });
      model.dispose();
    }));

test("a language model, without waiting for it", () => sweep("llama", () => llama({ quantization: { format: "nf4" } }).dispose()));

for (const name of ["clip-vision", "siglip-vision", "dinov2", "videomae", "viclip", "clap", "clap-fused", "imu2clip", "open-clip"])
  test(`an encoder: ${name}`, () =>
    sweep(name, async () => {
      const encoder = await AutoEncoder.fromPretrained(caseFolder(name), { device: here });
      encoder.dispose();
    }));

test("both towers of CLIP, and the one of text", async () => {
  for (const trainable of [false, true])
    await sweep("clip", () => ClipModel.fromPretrained(caseFolder("clip-pair"), { device: here, trainable }).dispose());
  await sweep("clip text", () => ClipTextModel.fromPretrained(caseFolder("clip-text"), { device: here }).dispose());
});

test("projections", async () => {
  const fresh = () => Weights.fresh({ device: here, dtype: "f32", trainable: true });
  const linear = { mode: "pooled", dim: 8, dimLlm: 16, tokens: 2, normalize: "standardize" } as const;
  await sweep("linear", () => new LinearProjector(fresh(), linear).dispose());
  for (const [name, asked] of [
    ["mlp", { type: "mlp" }],
    ["concat-linear", { type: "concat-linear" }],
  ] as const)
    await sweep(name, () => makeBridge(fresh(), completeBridge(asked, 8, 0), 16).dispose());
  for (const form of ["flamingo", "openflamingo", "idefics"] as const) {
    const config = { form, dim: 8, depth: 2, heads: 2, dimHead: 4, latents: 3, frames: 2 };
    await sweep(form, () => new ResamplerProjector(fresh(), config, 16, { normalize: "layernorm" }).dispose());
  }
});

test("an adapter: fresh, from its folder, taken off, merged", async () => {
  const c = new Case("lora");
  for (const quantization of [undefined, { format: "nf4", doubleQuant: true }, { format: "int8" }] as const) {
    const model = LlamaForCausalLM.fromPretrained(c.base, { device: here, ...(quantization && { quantization }) });
    await sweep("apply", () => LoraAdapter.apply(model, { r: 2, alpha: 4, bias: "all", modulesToSave: ["norm"] }).unload());
    await sweep("load", async () => (await LoraAdapter.load(model, join(c.folder, "adapter"))).unload());
    model.dispose();
    await sweep("merge", async () => {
      using own = LlamaForCausalLM.fromPretrained(c.base, { device: here, ...(quantization && { quantization }) });
      (await LoraAdapter.load(own, join(c.folder, "adapter"))).merge();
    });
  }
});

test("a whole model: assembled, saved, loaded, merged, exported", async () => {
  const folder = mkdtempSync(join(tmpdir(), "anymal-faults-"));
  try {
    await sweep("assemble", async () => (await AnyMAL.assemble(world.options())).dispose());
    using model = await AnyMAL.assemble(world.options());
    model.addAdapter({ r: 2, alpha: 4, targetModules: ["q_proj", "v_proj"] });
    await sweep("save", () => model.save(join(folder, "model")));
    await sweep("fromPretrained", async () => (await AnyMAL.fromPretrained(join(folder, "model"), { device: here })).dispose());
    const config = new Case("llama2").json();
    await sweep("export", () => exportMerged(model.llm, join(folder, "merged"), config));
    using held = llama({ quantization: { format: "nf4", doubleQuant: true } });
    await sweep("save quantised", () => saveModel(join(folder, "quantised"), held, config));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
