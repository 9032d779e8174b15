// What an earlier version has written, for the tests of this one: a model's folder and two runs that stopped half-way, with what they answered and
// where they ended. test/fixtures/saved-v1 was made by `npx tsx test/anymal/saved-folders.ts FOLDER` at 4c1d214.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { saveSafetensors } from "../../lib/io/safetensors.js";
import { parseClipVisionConfig } from "../../lib/models/clip-config.js";
import { ClipVisionModel } from "../../lib/models/clip-vision.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { parseLlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import type { TrainStep } from "../../lib/train/step-report.js";
import { caseFolder, copyFolder, here } from "../case.js";
import { blink, captions, square } from "./toy.js";

const LLM = {
  ...{
    model_type: "llama",
    architectures: ["LlamaForCausalLM"],
    dtype: "float32",
    vocab_size: 384,
    hidden_size: 32,
    intermediate_size: 64,
  },
  ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, max_position_embeddings: 96, rms_norm_eps: 1e-5 },
  ...{ bos_token_id: 1, eos_token_id: 2, tie_word_embeddings: false },
};
const CLIP = {
  ...{ model_type: "clip_vision_model", architectures: ["CLIPVisionModelWithProjection"], hidden_size: 16, intermediate_size: 32 },
  ...{ num_hidden_layers: 2, num_attention_heads: 2, image_size: 16, patch_size: 8, projection_dim: 16 },
};

export const ASKED: readonly PromptInput[] = [
  "hello",
  ["what is it? ", square("red")],
  [square("blue"), " and ", square("green"), ": which one?"],
  [blink("red", "white"), "see what of ", square("green")],
];
const TRAINING = { data: captions(2), batch: 4, microBatch: 2, steps: 4, learningRate: 1e-2, warmupSteps: 1, saveEvery: 2 } as const;

/** The model that the runs in `folder` began with. */
export const begun = (folder: string): Promise<AnyMAL> =>
  AnyMAL.assemble({
    device: here,
    llm: join(folder, "llm"),
    modalities: {
      image: { encoder: join(folder, "clip"), projector: { type: "resampler", layers: 1, tokens: 3 } },
      video: { encoder: join(folder, "clip"), frames: 2, projector: { type: "linear" } },
    },
    seed: 5,
  });
export const goOn: Readonly<Record<"align" | "instruct", (model: AnyMAL, output: string) => AsyncGenerator<TrainStep>>> = {
  align: (model, output) => align(model, { modality: "image", ...TRAINING, output, resume: true }),
  instruct: (model, output) => instruct(model, { ...TRAINING, lora: { r: 2, alpha: 4, dropout: 0.25 }, output, resume: true }),
};
/** What a run has trained, by names of its own. */
export function* trainedBy(model: AnyMAL): Generator<readonly [string, Tensor]> {
  yield* model.projector("image").namedParameters("projectors.image");
  yield* model.adapter?.namedParameters() ?? [];
}

async function write(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  copyFolder(caseFolder("llama2"), join(folder, "llm"), (file) => /tokenizer/.test(file));
  {
    using llm = new LlamaForCausalLM(Weights.fresh({ device: here, trainable: false, seed: 3 }), parseLlamaConfig(LLM));
    await saveModel(join(folder, "llm"), llm, LLM);
    using clip = new ClipVisionModel(Weights.fresh({ device: here, trainable: false, seed: 4 }), parseClipVisionConfig(CLIP));
    await saveModel(join(folder, "clip"), clip, clip.configJson());
  }
  const squares = { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 16 }, crop_size: 16 };
  writeFileSync(join(folder, "clip", "preprocessor_config.json"), JSON.stringify(squares));
  {
    using model = await begun(folder);
    const lora = model.addAdapter({ r: 2, alpha: 4, targetModules: ["q_proj", "down_proj"], modulesToSave: ["norm"] }, { seed: 3 });
    for (const [, { loraB }] of lora.layers) loraB.write(Float32Array.from({ length: loraB.size }, (_, i) => Math.sin(i) / 8));
    await model.save(join(folder, "model"));
    const answers = await model.generateAll(ASKED, { maxNewTokens: 6 });
    writeFileSync(join(folder, "expected.json"), `${JSON.stringify({ answers }, null, 2)}\n`);
  }
  const ends: [string, Tensor][] = [];
  for (const [name, go] of Object.entries(goOn)) {
    using model = await begun(folder);
    for await (const { step } of go(model, join(folder, name))) if (step === 2) break;
    copyFolder(join(folder, name), join(folder, `${name}-whole`));
    for await (const _ of go(model, join(folder, `${name}-whole`)));
    for (const [key, tensor] of trainedBy(model)) ends.push([`${name}.${key}`, tensor.detach()]);
  }
  await saveSafetensors(join(folder, "expected.safetensors"), ends);
}

if (process.argv[1]?.endsWith("saved-folders.ts")) await write(process.argv[2] as string);
