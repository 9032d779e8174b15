// lib/anymal/checkpoint.ts: a trained model whose anymal.json, adapter and projections are changed is loaded, and answers where it is taken.
import { cpSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { AdapterKind } from "../../../lib/adapters/kind.js";
import { ADAPTER_KINDS } from "../../../lib/adapters/load-adapter.js";
import { AnyMAL } from "../../../lib/anymal/anymal.js";
import type { Manifest } from "../../../lib/anymal/manifest.js";
import { defaultDevice } from "../../../lib/core/device.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";
import { ADDED, fileOf, MANY, tinyModel } from "../tiny-model.js";

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

/** From here on an input stands for a file of the checkpoint that has everything. */
const OF_MANY = 128;
const KINDS = Object.values(ADAPTER_KINDS).filter(({ name }) => name in MANY);
const MANY_FILES = [
  "anymal.json",
  ...KINDS.flatMap(({ name, files }) => [files.config, files.weights].map((file) => `adapters/${name}/${file}`)),
  ...["adapter_config.json", "adapter_model.safetensors"].map((file) => `adapters/tokens/${file}`),
  "trained.safetensors",
];
const CONFIGS = new Map<string, Record<string, unknown>>(
  KINDS.map((kind): [string, Record<string, unknown>] => {
    const { name, files, complete, write } = kind as unknown as AdapterKind;
    return [`adapters/${name}/${files.config}`, write(complete(MANY[name as keyof typeof MANY]))];
  }),
);
const SECOND = {
  ...{ format: "anymal", version: 2, system: "anymal", addedTokens: [ADDED], trained: true },
  llm: MANIFEST.llm,
  prompt: { template: "plain", system: "a", written: { before: "a", after: "b" } },
  modalities: {
    image: {
      ...{ encoder: MANIFEST.modalities.image.encoder, layer: -1, select: "patch", pad: true, calibrated: false },
      projector: { type: "concat-linear", patches: 1, dim: 8, normalize: "standardize" },
    },
  },
  adapters: ["tokens", ...Object.keys(MANY)].map((name) => ({
    ...{ name, on: "llm", folder: `adapters/${name}` },
    kind: name === "tokens" ? "trained-tokens" : name,
  })),
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
  if (random.chance(0.4)) {
    const file = random.chance(0.3) ? 0 : random.below(MANY_FILES.length);
    const config = file === 0 ? SECOND : CONFIGS.get(MANY_FILES[file] as string);
    return input(OF_MANY + file, config ? changedJson(random, config) : random.bytes(random.below(30)));
  }
  const file = random.pick([0, 0, 0, 0, 1, 1, 2, 3, 4]);
  if (file > 1) return input(file, random.bytes(random.below(30)));
  return input(file, changedJson(random, file === 0 ? MANIFEST : ADAPTER));
}

export const manifest: Target = {
  name: "manifest",
  seeds: [
    ...[seed(1, JSON.stringify(ADAPTER)), seed(2, ""), seed(3, "")],
    seed(OF_MANY, JSON.stringify(SECOND)),
    ...MANY_FILES.slice(1).flatMap((name, i) => {
      if (name.endsWith(".safetensors")) return [seed(OF_MANY + 1 + i, "")];
      return CONFIGS.has(name) ? [seed(OF_MANY + 1 + i, JSON.stringify(CONFIGS.get(name)))] : [];
    }),
  ],
  build,
  async run(bytes, path) {
    const { checkpoint, many } = await tinyModel(path);
    const first = bytes[0] ?? 0;
    const [from, names] = first < OF_MANY ? [checkpoint, FILES] : [many, MANY_FILES];
    const folder = join(dirname(checkpoint), "tried");
    rmSync(folder, { recursive: true, force: true });
    cpSync(from, folder, { recursive: true });
    const name = names[(first % OF_MANY) % names.length] as string;
    const saved = fileOf(from, name);
    const given = name.endsWith(".json") ? withFingerprints(bytes.subarray(1), fileOf(from, "anymal.json")) : damaged(saved, bytes);
    writeFileSync(join(folder, name), given);
    if (name === "anymal.json") rmSync(join(folder, "projectors", "video.safetensors"), { force: true });
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
