// A first stage as a run's folder holds it: first-stage.json says what it stands on, stage-one.safetensors has all that trains, words/ the tokenizer of captions;
// beside them the bridge on which a model is assembled.
import { join } from "node:path";
import { is, isObject, shown } from "../core/checks.js";
import { parseShallow } from "../core/json.js";
import { readPlain } from "../core/plain-file.js";
import { Checkpoint } from "../io/checkpoint.js";
import { saveSafetensors } from "../io/safetensors.js";
import { syncFolder, writeNew } from "../io/whole-file.js";
import type { Modality } from "../media/part.js";
import type { Blip2StageOne } from "../models/blip2-stage-one.js";
import { overwriting } from "../nn/overwriting.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { FirstStage } from "./first-stage.js";
import { checkpointFolder, type ModalityEntry } from "./manifest.js";
import { checkModality } from "./manifest-schema.js";
import { QuestionReader } from "./question.js";
import { reference } from "./source.js";

/** The file without which a folder holds no first stage. */
export const STAGE = "first-stage.json";
const ALL = "stage-one.safetensors";
const WORDS = "words";
/** Bytes. */
const LARGEST = 2 ** 20;

export const EMBED_DIM = 256;
/** An integer, as a width. */
export const WIDTH = is.upTo(65_536, 1);

/** What first-stage.json says. */
export interface StoredFirstStage extends Omit<ModalityEntry, "calibrated"> {
  modality: Modality;
  embedDim: number;
}

/** Into a new folder, which will lie at `target`. */
export async function writeFirstStage(first: FirstStage, folder: string, target: string): Promise<void> {
  await first.saveBridge(folder);
  await first.words.save(join(folder, WORDS));
  await saveSafetensors(join(folder, ALL), first.model.namedParameters(), { format: "pt" });
  await writeNew(join(folder, STAGE), (file) => file.writeFile(`${JSON.stringify(saidOf(first, target), null, 2)}\n`));
  await syncFolder(folder);
}

function saidOf({ media, model, modality }: FirstStage, folder: string): StoredFirstStage {
  const { setup, source, encoder } = media;
  const { embedDim = EMBED_DIM } = model.config;
  return { modality, encoder: { ...reference(source, folder), dtype: encoder.dtype }, ...setup, embedDim };
}

/** What a folder, or a run's, holds. Rejects with E_CHECKPOINT where that is no first stage. */
export async function openFirstStage(given: string): Promise<{ folder: string; said: StoredFirstStage; words: string }> {
  const folder = checkpointFolder(given, STAGE, "representMedia()");
  const path = join(folder, STAGE);
  const fail = (wanted: string, got: string): never => {
    throw new CheckpointError(path, wanted, got, "it was changed by hand: put it back from a copy");
  };
  const text = (await readPlain(path, { most: LARGEST, linksInside: true })).toString();
  let said: unknown;
  try {
    said = parseShallow(text);
  } catch (cause) {
    return fail("JSON", (cause as Error).message);
  }
  if (!isObject(said)) return fail("an object", shown(said));
  const { modality, embedDim, ...entry } = said;
  if (typeof modality !== "string") return fail("modality to be a kind of media", shown(modality));
  checkModality(modality, { ...entry, calibrated: false }, fail);
  if ((entry.projector as { type: string }).type !== "q-former")
    return fail(`${modality}.projector.type to be q-former`, shown((entry.projector as { type: string }).type));
  if (!WIDTH.fits(embedDim)) return fail(`embedDim to be ${WIDTH.wanted}`, shown(embedDim));
  return { folder, said: said as unknown as StoredFirstStage, words: join(folder, WORDS) };
}

/** The stored weights in the place of the model's. Rejects with E_CHECKPOINT, or E_STATE, where they are another's; the model is as it was then. */
export function takeStored(model: Blip2StageOne, folder: string): void {
  using file = Checkpoint.openIn(folder, ALL);
  const all = [...model.namedParameters()].map(([name, tensor]) => ({ keys: [name], tensor }));
  for (const write of overwriting(file, all)) write();
}

/** Takes over what a run has saved. Rejects with E_CHECKPOINT where that is of another encoder, Q-Former or tokenizer. */
export async function restoreFirstStage(first: FirstStage, run: string): Promise<void> {
  const { folder, said, words } = await openFirstStage(run);
  const [was, now] = [withoutPlace(said), withoutPlace(JSON.parse(JSON.stringify(saidOf(first, folder))))];
  if (was !== now)
    throw new CheckpointError(join(folder, STAGE), now, was, "go on with the encoder and the Q-Former that the run began with");
  if (!first.words.same(await QuestionReader.open(words)))
    throw new CheckpointError(folder, `the tokenizer in ${WORDS}/`, "another", "go on with the one that the run began with");
  takeStored(first.model, folder);
}

/** What must be the same; where the encoder lies may change. */
function withoutPlace({ encoder: { fingerprint, dtype }, ...rest }: StoredFirstStage): string {
  return JSON.stringify({ ...rest, fingerprint, dtype });
}
