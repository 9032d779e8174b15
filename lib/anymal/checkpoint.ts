// The checkpoint folder of a trained model, written: anymal.json, projectors/<modality>.safetensors, and of each adapter the two files in PEFT layout.

import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm, rmdir } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { adapterFilesOf, adapterKindNames } from "../adapters/load-adapter.js";
import { onFile } from "../core/file-error.js";
import { saveSafetensors } from "../io/safetensors.js";
import { clearRubbish, syncFolder, temporaryName, writeNew } from "../io/whole-file.js";
import type { Modality } from "../media/part.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { CheckpointError, MANIFEST } from "./checkpoint-error.js";
import { type Manifest, type ModalityEntry, makeManifest } from "./manifest.js";
import { type AnyMALParts, adapterFolder, namedWeightsOf } from "./parts.js";
import { reference } from "./source.js";

export const PROJECTORS = "projectors";
/** Of whatever kind. */
export const ADAPTER_FILES: readonly string[] = [...new Set(adapterKindNames.flatMap(adapterFilesOf))];
/** Of adapters that are not the default one, a folder of each. */
export const ADAPTERS = "adapters";
/** Of bridges that read the question, a folder with the files of the tokenizer for each kind of media. */
export const QUESTIONS = "questions";
/** Weights of the language model that a stage has trained. */
export const TRAINED = "trained.safetensors";

const ADAPTER_FILE = new RegExp(`^(${ADAPTER_FILES.join("|").replaceAll(".", "\\.")})$`);

/** Names; none where there is no such folder. */
export async function foldersIn(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const all = await onFile("to be read", folder, () => readdir(folder, { withFileTypes: true }));
  return all.filter((one) => one.isDirectory()).map(({ name }) => name);
}

/** Appears whole or not at all: a new folder is renamed into place, an older checkpoint's files are replaced one by one, anymal.json last. */
export async function writeCheckpoint(folder: string, model: AnyMALParts): Promise<void> {
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
  await replace(from, target, ADAPTER_FILE);
  await replace(from, target, new RegExp(`^${TRAINED.replace(".", "\\.")}$`));
  for (const name of new Set([...(await foldersIn(join(from, ADAPTERS))), ...(await foldersIn(join(target, ADAPTERS)))])) {
    const [own, place] = [join(from, ADAPTERS, name), join(target, ADAPTERS, name)];
    await mkdir(own, { recursive: true }); // of one that is no more, nothing takes the place of its files
    await mkdir(place, { recursive: true });
    await replace(own, place, ADAPTER_FILE);
    if (!(await readdir(place)).length) await rmdir(place);
    else await syncFolder(place);
  }
  if (existsSync(join(from, QUESTIONS))) {
    await rm(join(target, QUESTIONS), { recursive: true, force: true });
    await rename(join(from, QUESTIONS), join(target, QUESTIONS));
  }
  await rename(join(from, MANIFEST), join(target, MANIFEST));
}

/** The files of a checkpoint into a new folder, and onto the disk; paths in it are relative to `target`, where they will lie. */
export async function writeFiles(folder: string, model: AnyMALParts, target: string): Promise<void> {
  if (model.adapters.some(({ adapter }) => adapter.state === "merged"))
    throw new CheckpointError(
      target,
      "a language model as its folder has it",
      "one that an adapter was merged into, which a checkpoint refers to and does not hold",
      "save before merge(), or write the merged model with exportMerged() and assemble from it",
    );
  await onFile("to be written", target, () => mkdir(join(folder, PROJECTORS), { recursive: true }));
  for (const [modality, projector] of model.projectors)
    await saveSafetensors(join(folder, PROJECTORS, `${modality}.safetensors`), projector.namedParameters(), { format: "pt" });
  for (const { name, adapter } of model.adapters) {
    const place = join(folder, adapterFolder(name));
    await adapter.save(place);
    await syncFolder(place);
  }
  for (const [modality, reader] of model.questions) await reader.save(join(folder, QUESTIONS, modality));
  const trained = namedWeightsOf(model.llm, new Set(model.trained));
  if (trained.length) await saveSafetensors(join(folder, TRAINED), trained, { format: "pt" });
  await writeNew(join(folder, MANIFEST), (file) => file.writeFile(`${JSON.stringify(manifestOf(model, target), null, 2)}\n`));
  await syncFolder(folder);
}

function manifestOf(model: AnyMALParts, target: string): Manifest {
  const calibrated = new Set(model.calibrated);
  const entries = Array.from(model.encoders, ([modality, { source, setup, encoder }]): [Modality, ModalityEntry] => [
    modality,
    { encoder: { ...reference(source, target), dtype: encoder.dtype }, ...setup, calibrated: calibrated.has(modality) },
  ]);
  return makeManifest({
    system: model.system,
    ...(model.addedTokens.length && { addedTokens: model.addedTokens }),
    llm: { ...reference(model.llmSource, target), quantization: model.quantization ?? null, dtype: model.llm.dtype },
    prompt: { ...model.prompt, template: templateOf(model.tokenizer) },
    modalities: Object.fromEntries(entries),
    adapters: model.adapters.map(({ name, kind, on }) => ({ name, kind, on, folder: adapterFolder(name) })),
    ...(namedWeightsOf(model.llm, new Set(model.trained)).length && { trained: true }),
  });
}

export const templateOf = (tokenizer: Tokenizer) => (tokenizer.hasChatTemplate ? "chat" : "plain");

async function replace(from: string, to: string, which: RegExp): Promise<void> {
  const fresh = (await readdir(from)).filter((name) => which.test(name));
  for (const name of (await readdir(to)).filter((name) => which.test(name) && !fresh.includes(name))) await rm(join(to, name));
  for (const name of fresh) await rename(join(from, name), join(to, name));
}
