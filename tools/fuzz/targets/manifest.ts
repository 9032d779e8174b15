// lib/anymal/checkpoint.ts: a trained model whose anymal.json, adapter and projections are changed is loaded, and answers where it is taken.
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { AnyMAL } from "../../../lib/anymal/anymal.js";
import type { Manifest } from "../../../lib/anymal/manifest.js";
import { defaultDevice } from "../../../lib/core/device.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";
import { fileOf, tinyModel } from "../tiny-model.js";

/** Which file of the checkpoint an input stands for: its first byte. */
const FILES = [
  "anymal.json",
  "adapter_config.json",
  "adapter_model.safetensors",
  "projectors/image.safetensors",
  "projectors/video.safetensors",
];

/** What tinyModel() saves, but for what differs from time to time: fingerprints are put in as it is tried. */
const projector = { type: "resampler", form: "flamingo", layers: 1, tokens: 2, heads: 8, dim: 8, frames: 0, normalize: "standardize" };
const MANIFEST = {
  ...{ format: "anymal", version: 1, adapter: true, prompt: { template: "plain" } },
  llm: { path: "../llm", fingerprint: "LLM", quantization: null, dtype: "f32" },
  modalities: {
    image: {
      encoder: { path: "../clip", fingerprint: "CLIP", dtype: "f32" },
      projector,
      layer: -1,
      select: "patch",
      calibrated: false,
    },
  },
};
const ADAPTER = {
  ...{ peft_type: "LORA", r: 1, lora_alpha: 1, lora_dropout: 0, target_modules: ["q_proj"], bias: "none", modules_to_save: null },
  ...{ rank_pattern: {}, alpha_pattern: {}, use_rslora: false, init_lora_weights: true, layers_to_transform: null, exclude_modules: null },
};

const input = (file: number, content: Uint8Array | string): Uint8Array =>
  Buffer.concat([Buffer.from([file]), Buffer.from(content as string)]);
const seed = (file: number, content: Uint8Array | string): Seed => ({ bytes: input(file, content), fields: [] });

/** Nothing of it: the file as it was saved, of which `bytes` say where to change what. */
function damaged(whole: Buffer, bytes: Uint8Array): Uint8Array {
  const copy = Buffer.from(whole);
  for (let i = 1; i + 4 < bytes.length; i += 5) {
    const at =
      bytes.length % 3 ? (bytes[i]! * 256 + bytes[i + 1]!) % copy.length : (bytes[i]! * 256 + bytes[i + 1]!) % Math.min(copy.length, 600);
    if (bytes[i + 2]! < 16) return copy.subarray(0, at);
    copy[at] = bytes[i + 3]!;
  }
  return copy;
}

function build(random: Random): Uint8Array {
  const file = random.pick([0, 0, 0, 0, 1, 1, 2, 3, 4]);
  if (file > 1) return input(file, random.bytes(random.below(30)));
  return input(file, changedJson(random, file === 0 ? MANIFEST : ADAPTER));
}

export const manifest: Target = {
  name: "manifest",
  seeds: [seed(1, JSON.stringify(ADAPTER)), seed(2, ""), seed(3, "")],
  build,
  async run(bytes, path) {
    const { checkpoint } = await tinyModel(path);
    const folder = join(dirname(checkpoint), "tried");
    rmSync(folder, { recursive: true, force: true });
    cpSync(checkpoint, folder, { recursive: true });
    const name = FILES[(bytes[0] ?? 0) % FILES.length] as string;
    const saved = fileOf(checkpoint, name);
    const given = name.endsWith(".json") ? withFingerprints(bytes.subarray(1), fileOf(checkpoint, "anymal.json")) : damaged(saved, bytes);
    writeFileSync(join(folder, name), given);
    if (name === "anymal.json") rmSync(join(folder, "projectors", "video.safetensors"));
    const model = await AnyMAL.fromPretrained(folder, { device: defaultDevice() });
    try {
      for await (const _ of model.generate(["ab"], { maxNewTokens: 2 }));
    } finally {
      model.dispose();
    }
  },
};

function withFingerprints(bytes: Uint8Array, whole: Buffer): Buffer {
  const { llm, modalities } = JSON.parse(whole.toString()) as Manifest;
  const prints = { LLM: llm.fingerprint, CLIP: modalities.image?.encoder.fingerprint };
  return Buffer.from(
    Buffer.from(bytes)
      .toString()
      .replaceAll(/"(LLM|CLIP)"/g, (_, which: "LLM" | "CLIP") => JSON.stringify(prints[which])),
  );
}
