// A bridge that lies in a folder of its own, as `anymal convert` writes one: projector.json says what it is, projector.safetensors has its weights
// (model.safetensors where there is nothing else in the checkpoint).
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "../core/device.js";
import { Checkpoint } from "../io/checkpoint.js";
import type { Modality } from "../media/part.js";
import {
  type BridgeOptions,
  type BridgeSetup,
  kindProblem,
  optionsSchema,
  setupMisfit,
  setupSchema,
  storedBridge,
} from "../models/bridges/index.js";
import type { Bridge } from "../models/bridges/kind.js";
import { openBridge } from "../models/bridges/kind.js";
import { readJson } from "../models/config.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { AssembleOptions, FreshModality } from "./options.js";

const SETUP = "projector.json";
const WEIGHTS = "projector.safetensors";
const weightsIn = (folder: string): string => (existsSync(join(folder, WEIGHTS)) ? WEIGHTS : "model.safetensors");

export interface StoredBridge {
  folder: string;
  setup: BridgeSetup;
}

/** The options with every folder of a bridge as the options that it says, and the bridges by modality. */
export function withStored(given: AssembleOptions): {
  modalities: Record<string, FreshModality | undefined>;
  stored: Map<Modality, StoredBridge>;
} {
  const stored = new Map<Modality, StoredBridge>();
  const modalities: Record<string, FreshModality | undefined> = {};
  for (const [modality, one] of Object.entries(given.modalities ?? {})) {
    if (typeof one?.projector !== "string") {
      modalities[modality] = one as FreshModality | undefined;
      continue;
    }
    const setup = setupIn(one.projector);
    stored.set(modality, { folder: one.projector, setup });
    const asked = Object.keys(optionsSchema(setup as BridgeOptions));
    const options = Object.fromEntries(Object.entries(setup).filter(([key]) => key === "type" || asked.includes(key)));
    modalities[modality] = { ...one, projector: options as unknown as BridgeOptions };
  }
  return { modalities, stored };
}

function setupIn(folder: string): BridgeSetup {
  if (!existsSync(join(folder, SETUP)) || !existsSync(join(folder, weightsIn(folder))))
    throw new CheckpointError(folder, `a bridge: ${SETUP} and ${WEIGHTS}`, existsSync(folder) ? "a folder without them" : "no such folder", "name what anymal convert has written, or { type: … } for a fresh one"); // biome-ignore format: one line
  const json = readJson(join(folder, SETUP));
  const wrong = (wanted: string, got: string) => new CheckpointError(join(folder, SETUP), wanted, got, "convert the checkpoint again");
  const unknown = kindProblem(json);
  if (unknown) throw wrong(`a "type" that is ${unknown.wanted}`, unknown.got);
  const setup = json as unknown as BridgeSetup;
  for (const [key, check] of Object.entries(setupSchema(setup)))
    if (!check.fits(json[key])) throw wrong(`"${key}" to be ${check.wanted}`, JSON.stringify(json[key])?.slice(0, 60) ?? "nothing");
  const misfit = setupMisfit(setup);
  if (misfit) throw wrong(`"${misfit[0]}" ${misfit[1]}`, JSON.stringify(json[misfit[0]])?.slice(0, 60) ?? "nothing");
  return setup;
}

/** Throws E_CHECKPOINT where the model would ask for another bridge than that one, E_STATE where its weights are another's. */
export function openStored({ folder, setup }: StoredBridge, wanted: BridgeSetup, device: Device, dimLlm: number): Bridge {
  for (const [key, value] of Object.entries(wanted)) {
    const own = (setup as unknown as Record<string, unknown>)[key];
    if (own !== value)
      throw new CheckpointError(folder, `a bridge with ${key} ${JSON.stringify(value)}, as the encoder and the frames make it`, `${JSON.stringify(own)}`, "take the encoder that it was trained on"); // biome-ignore format: one line
  }
  using file = Checkpoint.openIn(folder, weightsIn(folder));
  const bridge = storedBridge(file, wanted, device, dimLlm);
  openBridge(bridge, false);
  return bridge;
}
