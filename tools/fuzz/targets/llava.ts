// lib/anymal/published.ts: a folder of LLaVA as it is published, of which config.json or the processor's is changed, is loaded, and answers where it is taken.
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AnyMAL } from "../../../lib/anymal/anymal.js";
import { defaultDevice } from "../../../lib/core/device.js";
import { Checkpoint } from "../../../lib/io/checkpoint.js";
import { type HostTensor, saveSafetensors } from "../../../lib/io/safetensors.js";
import { image } from "../../../lib/media/image.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";
import { CLIP, LLM, TOKENIZER, tinyModel } from "../tiny-model.js";

/** The prompt of its conversations has some 160 letters, each a token here. */
const TEXT = { ...LLM, max_position_embeddings: 256 };
const HUB = {
  ...{ architectures: ["LlavaForConditionalGeneration"], model_type: "llava", image_token_index: 5, image_seq_length: 1 },
  ...{ vision_feature_layer: -1, vision_feature_select_strategy: "default", projector_hidden_act: "gelu", dtype: "float32" },
  ...{
    multimodal_projector_bias: true,
    tie_word_embeddings: false,
    text_config: TEXT,
    vision_config: { ...CLIP, architectures: ["CLIPVisionModel"] },
  },
};
const PROCESSOR = {
  ...{ processor_class: "LlavaProcessor", image_token: "<image>", patch_size: 8, num_additional_image_tokens: 1 },
  vision_feature_select_strategy: "default",
};
const ORIGINAL = {
  ...TEXT,
  ...{ model_type: "llava_llama", architectures: ["LlavaLlamaForCausalLM"], mm_vision_tower: "tower", mm_hidden_size: 8 },
  ...{ mm_projector_type: "mlp2x_gelu", mm_vision_select_layer: -1, mm_vision_select_feature: "patch", mm_use_im_start_end: false },
  ...{ image_aspect_ratio: "pad", tune_mm_mlp_adapter: false, torch_dtype: "float32" },
};

/** Which file an input stands for: its first byte. */
const FILES: readonly { folder: "hub" | "original"; name: string; json: object }[] = [
  { folder: "hub", name: "config.json", json: HUB },
  { folder: "hub", name: "processor_config.json", json: PROCESSOR },
  { folder: "original", name: "config.json", json: ORIGINAL },
];

const input = (file: number, text: string): Uint8Array => Buffer.concat([Buffer.from([file]), Buffer.from(text)]);
const picture = image({ width: 8, height: 8, data: Uint8Array.from({ length: 192 }, (_, i) => i) });

/** Both folders, of the smallest model's weights. */
async function made(path: string): Promise<string> {
  const { llm, clip } = await tinyModel(path);
  const root = join(dirname(llm), "llava");
  if (existsSync(join(root, "original", "config.json"))) return root;
  const bridge: [string, number[]][] = ["linear_1", "linear_2"].flatMap((at) => [
    [`${at}.weight`, [8, 8]],
    [`${at}.bias`, [8]],
  ]);
  const numbers = (size: number) => Float32Array.from({ length: size }, (_, i) => Math.sin(i));
  for (const folder of ["hub", "original"] as const) {
    const hub = folder === "hub";
    mkdirSync(join(root, folder), { recursive: true });
    const own = new Map<string, HostTensor>();
    for (const [name, one] of stored(llm)) own.set(hub ? `language_model.${name}` : name, one);
    if (hub) for (const [name, one] of stored(clip)) if (name.startsWith("vision_model.")) own.set(`vision_tower.${name}`, one);
    for (const [name, shape] of bridge) {
      const place = name.replace("linear_1", "0").replace("linear_2", "2");
      own.set(hub ? `multi_modal_projector.${name}` : `model.mm_projector.${place}`, {
        dtype: "F32",
        shape,
        data: numbers(8 * (shape[1] ?? 1)),
      });
    }
    await saveSafetensors(join(root, folder, "model.safetensors"), own);
    const [token, added] = ["<image>", TOKENIZER.added_tokens];
    const tokenizer = { ...TOKENIZER, added_tokens: [...added, { id: 5, content: token, special: true }] };
    writeFileSync(join(root, folder, "tokenizer.json"), JSON.stringify(tokenizer));
    for (const name of ["tokenizer_config.json"]) cpSync(join(llm, name), join(root, folder, name));
    cpSync(join(clip, "preprocessor_config.json"), join(root, folder, "preprocessor_config.json"));
    if (!hub) cpSync(clip, join(root, folder, "tower"), { recursive: true });
    for (const { name, json } of FILES.filter((one) => one.folder === folder))
      writeFileSync(join(root, folder, name), JSON.stringify(json));
  }
  return root;
}

function* stored(folder: string): Generator<[string, HostTensor]> {
  using file = Checkpoint.open(folder);
  for (const name of file.names()) yield [name, { dtype: "F32", shape: file.entry(name).shape, data: new Uint8Array(file.bytes(name)) }];
}

export const llava: Target = {
  name: "llava",
  seeds: FILES.map(({ json }, i): Seed => ({ bytes: input(i, JSON.stringify(json)), fields: [] })),
  build(random: Random) {
    const file = random.pick([0, 0, 0, 1, 2, 2]);
    return input(file, changedJson(random, FILES[file]!.json));
  },
  async prepare(path) {
    await made(path);
  },
  async run(bytes, path) {
    const root = await made(path);
    const { folder, name } = FILES[(bytes[0] ?? 0) % FILES.length]!;
    const tried = join(root, "tried");
    rmSync(tried, { recursive: true, force: true });
    cpSync(join(root, folder), tried, { recursive: true });
    writeFileSync(join(tried, name), bytes.subarray(1));
    const model = await AnyMAL.fromPretrained(tried, { device: defaultDevice(), localFilesOnly: true });
    try {
      for await (const _ of model.generate([picture, "ab"], { maxNewTokens: 2 }));
    } finally {
      model.dispose();
    }
  },
};
