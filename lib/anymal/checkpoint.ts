// The checkpoint folder of a trained model: anymal.json, projectors/<modality>.safetensors, and the adapter's two files in PEFT layout.
import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { LoraAdapter } from "../adapters/lora.js";
import type { Device } from "../core/device.js";
import { onFile } from "../core/file-error.js";
import { Checkpoint } from "../io/checkpoint.js";
import { saveSafetensors } from "../io/safetensors.js";
import { clearRubbish, syncFolder, temporaryName, writeNew } from "../io/whole-file.js";
import type { Modality } from "../media/part.js";
import { openCausalLM } from "../models/auto-causal-lm.js";
import { makeBridge } from "../models/bridges/index.js";
import type { Bridge } from "../models/bridges/kind.js";
import { quantizationOf } from "../models/loading.js";
import { Weights } from "../nn/weights.js";
import { Tokenizer } from "../text/tokenizer.js";
import type { AnyMAL, AnyMALParts, FromPretrainedOptions } from "./anymal.js";
import { readEncoders } from "./encoders.js";
import {
  CheckpointError,
  checkpointFolder,
  locate,
  MANIFEST,
  type Manifest,
  type ModalityEntry,
  makeManifest,
  readManifest,
  reference,
} from "./manifest.js";

export const PROJECTORS = "projectors";
const ADAPTER = ["adapter_config.json", "adapter_model.safetensors"] as const;

/** Appears whole or not at all: a new folder is renamed into place, an older checkpoint's files are replaced one by one, anymal.json last. */
export async function writeCheckpoint(folder: string, model: AnyMAL): Promise<void> {
  const target = resolve(folder);
  const temporary = temporaryName(target);
  await clearRubbish(dirname(target), (name) => name === basename(target));
  try {
    await writeFiles(temporary, model, target);
    await onFile("to be written", target, () => moveIn(temporary, target));
    for (const folder of [join(target, PROJECTORS), target, dirname(target)]) await syncFolder(folder);
  } finally {
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
  }
}

async function moveIn(from: string, target: string): Promise<void> {
  if (!existsSync(target)) return rename(from, target);
  await mkdir(join(target, PROJECTORS), { recursive: true });
  await replace(join(from, PROJECTORS), join(target, PROJECTORS), /\.safetensors$/);
  await replace(from, target, new RegExp(`^(${ADAPTER.join("|").replaceAll(".", "\\.")})$`));
  await rename(join(from, MANIFEST), join(target, MANIFEST));
}

/** The files of a checkpoint into a new folder, and onto the disk; paths in it are relative to `target`, where they will lie. */
export async function writeFiles(folder: string, model: AnyMAL, target: string): Promise<void> {
  if (model.merged)
    throw new CheckpointError(
      target,
      "a language model as its folder has it",
      "one that an adapter was merged into, which a checkpoint refers to and does not hold",
      "save before merge(), or write the merged model with exportMerged() and assemble from it",
    );
  await onFile("to be written", target, () => mkdir(join(folder, PROJECTORS), { recursive: true }));
  for (const modality of model.modalities)
    await saveSafetensors(join(folder, PROJECTORS, `${modality}.safetensors`), model.projector(modality).namedParameters(), {
      format: "pt",
    });
  await model.adapter?.save(folder);
  await writeNew(join(folder, MANIFEST), (file) => file.writeFile(`${JSON.stringify(manifestOf(model, target), null, 2)}\n`));
  await syncFolder(folder);
}

function manifestOf(model: AnyMAL, target: string): Manifest {
  const entries = Array.from(model.encoders, ([modality, { source, setup, encoder }]): [Modality, ModalityEntry] => [
    modality,
    { encoder: { ...reference(source, target), dtype: encoder.dtype }, ...setup, calibrated: model.calibrated.has(modality) },
  ]);
  return makeManifest({
    llm: { ...reference(model.llmSource, target), quantization: model.quantization ?? null, dtype: model.llm.dtype },
    prompt: { ...model.prompt, template: templateOf(model.tokenizer) },
    modalities: Object.fromEntries(entries),
    adapter: model.adapter !== undefined,
  });
}

const templateOf = (tokenizer: Tokenizer) => (tokenizer.hasChatTemplate ? "chat" : "plain");

async function replace(from: string, to: string, which: RegExp): Promise<void> {
  const fresh = (await readdir(from)).filter((name) => which.test(name));
  for (const name of (await readdir(to)).filter((name) => which.test(name) && !fresh.includes(name))) await rm(join(to, name));
  for (const name of fresh) await rename(join(from, name), join(to, name));
}

export async function readCheckpoint(
  given: string,
  options: FromPretrainedOptions & { device: Device },
  make: (parts: AnyMALParts) => AnyMAL,
): Promise<AnyMAL> {
  const folder = checkpointFolder(given);
  const manifest = await readManifest(folder);
  await checkFiles(folder, manifest);
  const llmSource = await locate(folder, "the language model", manifest.llm, options.llm, { ...options, mayDiffer: true });
  const tokenizer = await Tokenizer.load(llmSource.folder, { signal: options.signal });
  if (templateOf(tokenizer) !== manifest.prompt.template)
    throw new CheckpointError(
      folder,
      `a tokenizer with ${manifest.prompt.template === "chat" ? "a" : "no"} chat template, as in training`,
      llmSource.folder,
      "use the tokenizer it was trained with",
    );
  const quantization = options.quantization === undefined ? (manifest.llm.quantization ?? undefined) : quantizationOf(options.quantization);
  const dtype = options.dtype ?? manifest.llm.dtype;
  const encoders = await readEncoders(folder, manifest, options);
  const built: { dispose(): void }[] = Array.from(encoders.values(), ({ encoder }) => encoder);
  try {
    const held = { device: options.device, dtype, ...(quantization && { quantization }) };
    const llm = await openCausalLM(llmSource.folder, held, options.signal);
    built.push(llm);
    const projectors: Partial<Record<Modality, Bridge>> = {};
    for (const [modality, { setup }] of encoders) {
      using file = Checkpoint.openIn(folder, join(PROJECTORS, `${modality}.safetensors`));
      const at = Weights.from(file, { device: options.device, dtype: "f32" });
      projectors[modality] = makeBridge(at, setup.projector, llm.config.hiddenSize);
      built.push(projectors[modality]);
      at.finish();
    }
    const { template: _, ...prompt } = manifest.prompt;
    const calibrated = [...encoders.keys()].filter((modality) => manifest.modalities[modality]?.calibrated);
    const model = make({ llm, tokenizer, encoders, projectors, llmSource, quantization, prompt, calibrated });
    if (manifest.adapter) model.adapter = await LoraAdapter.load(llm, folder);
    await model.arrived(); // what fails while the weights are read fails here, not in the first forward
    options.signal?.throwIfAborted();
    return model;
  } catch (error) {
    for (const part of new Set(built)) part.dispose();
    throw error;
  }
}

/** Nothing is missing and nothing is left over: half a checkpoint answers, but not as the trained model. */
async function checkFiles(folder: string, { modalities, adapter }: Manifest): Promise<void> {
  const remedy = "copy the folder whole, or save the model again";
  const there = existsSync(join(folder, PROJECTORS))
    ? (await onFile("to be read", join(folder, PROJECTORS), () => readdir(join(folder, PROJECTORS)))).filter((name) =>
        name.endsWith(".safetensors"),
      )
    : [];
  const wanted = Object.keys(modalities).map((modality) => `${modality}.safetensors`);
  const differs = [...wanted.filter((name) => !there.includes(name)), ...there.filter((name) => !wanted.includes(name))];
  if (differs.length)
    throw new CheckpointError(folder, `${PROJECTORS}/ with ${wanted.join(", ") || "nothing"}`, there.join(", ") || "nothing", remedy);
  const files = ADAPTER.filter((name) => existsSync(join(folder, name)));
  if (files.length !== (adapter ? ADAPTER.length : 0))
    throw new CheckpointError(folder, adapter ? ADAPTER.join(" and ") : "no adapter", files.join(", ") || "none", remedy);
}
