// A bridge that lies in a folder of its own, as `anymal convert` writes one: projector.json says what it is, projector.safetensors has its weights
// (model.safetensors where there is nothing else in the checkpoint).
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "../core/device.js";
import { built } from "../core/scope.js";
import { Checkpoint } from "../io/checkpoint.js";
import type { Modality } from "../media/part.js";
import {
  type BridgeOptions,
  type BridgeSetup,
  kindProblem,
  makeBridge,
  optionsSchema,
  setupMisfit,
  setupSchema,
  storedBridge,
} from "../models/bridges/index.js";
import type { Bridge } from "../models/bridges/kind.js";
import { openBridge } from "../models/bridges/kind.js";
import { readJson } from "../models/config.js";
import { overwriting } from "../nn/overwriting.js";
import { Weights } from "../nn/weights.js";
import { CheckpointError } from "./checkpoint-error.js";
import { checkpointWith } from "./manifest.js";
import type { AssembleOptions, FreshModality } from "./options.js";

export const SETUP = "projector.json";
export const WEIGHTS = "projector.safetensors";
/** What a setup says of a bridge that has met no language model yet, as one of BLIP-2's first stage. */
export const OUTPUT_FRESH = { output: "fresh" } as const;
const weightsIn = (folder: string): string => (existsSync(join(folder, WEIGHTS)) ? WEIGHTS : "model.safetensors");

export interface StoredBridge {
  folder: string;
  setup: BridgeSetup;
  /** Is its layer to the language model to be made? */
  fresh: boolean;
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
    const folder = checkpointWith(one.projector, SETUP) ?? one.projector; // of a run, what it has saved
    const { setup, fresh } = setupIn(folder);
    stored.set(modality, { folder, setup, fresh });
    const asked = Object.keys(optionsSchema(setup as BridgeOptions));
    const options = Object.fromEntries(Object.entries(setup).filter(([key]) => key === "type" || asked.includes(key)));
    modalities[modality] = { ...one, projector: options as unknown as BridgeOptions };
  }
  return { modalities, stored };
}

function setupIn(folder: string): Pick<StoredBridge, "setup" | "fresh"> {
  if (!existsSync(join(folder, SETUP)) || !existsSync(join(folder, weightsIn(folder))))
    throw new CheckpointError(
      folder,
      `a bridge: ${SETUP} and ${WEIGHTS}`,
      existsSync(folder) ? "a folder without them" : "no such folder",
      "name what anymal convert has written, or { type: … } for a fresh one",
    );
  const json = readJson(join(folder, SETUP));
  const wrong = (wanted: string, got: string) => new CheckpointError(join(folder, SETUP), wanted, got, "convert the checkpoint again");
  const unknown = kindProblem(json);
  if (unknown) throw wrong(`a "type" that is ${unknown.wanted}`, unknown.got);
  const setup = json as unknown as BridgeSetup;
  for (const [key, check] of Object.entries(setupSchema(setup)))
    if (!check.fits(json[key])) throw wrong(`"${key}" to be ${check.wanted}`, JSON.stringify(json[key])?.slice(0, 60) ?? "nothing");
  const misfit = setupMisfit(setup);
  if (misfit) throw wrong(`"${misfit[0]}" ${misfit[1]}`, JSON.stringify(json[misfit[0]])?.slice(0, 60) ?? "nothing");
  if (json.output !== undefined && json.output !== OUTPUT_FRESH.output)
    throw wrong(`"output" to be "${OUTPUT_FRESH.output}", or absent`, JSON.stringify(json.output).slice(0, 60));
  return { setup, fresh: json.output !== undefined };
}

/**
 * Throws E_CHECKPOINT where the model would ask for another bridge than that one, E_STATE where its weights are another's. A layer to the language model that
 * the file does not have is drawn by the seed.
 */
export function openStored({ folder, setup, fresh }: StoredBridge, wanted: BridgeSetup, device: Device, dimLlm: number, seed = 0): Bridge {
  for (const [key, value] of Object.entries(wanted)) {
    const own = (setup as unknown as Record<string, unknown>)[key];
    if (own !== value)
      throw new CheckpointError(
        folder,
        `a bridge with ${key} ${JSON.stringify(value)}, as the encoder and the frames make it`,
        `${JSON.stringify(own)}`,
        "take the encoder that it was trained on",
      );
  }
  using file = Checkpoint.openIn(folder, weightsIn(folder));
  const bridge = fresh ? withFreshOutput(file, wanted, device, dimLlm, seed) : storedBridge(file, wanted, device, dimLlm);
  openBridge(bridge, false);
  return bridge;
}

function withFreshOutput(file: Checkpoint, setup: BridgeSetup, device: Device, dimLlm: number, seed: number): Bridge {
  return built(() => {
    const bridge = makeBridge(Weights.fresh({ device, seed }), setup, dimLlm);
    const output = new Set(bridge.output?.parameters());
    const learned = [...bridge.namedParameters()].filter(([, tensor]) => !output.has(tensor));
    const writes = overwriting(
      file,
      learned.map(([name, tensor]) => ({ keys: [name], tensor })),
      ["F32", "BF16"],
    );
    for (const write of writes) write();
    return bridge;
  });
}
