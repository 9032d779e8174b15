// A model's encoders. Modalities that name one folder share one encoder: images and videos through one CLIP.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { processorOf } from "../media/auto-processor.js";
import { ImageProcessor } from "../media/image-processor.js";
import type { Kinds } from "../media/kinds/index.js";
import type { MediaPart, MediaProcessor, Modality } from "../media/part.js";
import { VideoProcessor } from "../media/video-processor.js";
import { AutoEncoder } from "../models/auto-encoder.js";
import type { System } from "../systems/system.js";
import type { MediaPlan } from "./build.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { ModalityEntry } from "./manifest.js";
import { completeSetup, type FreshModality, type FromPretrainedOptions, type ModalitySetup } from "./options.js";
import { isOwn, ownPlan, storedOwn } from "./own-encoder.js";
import { type Fetching, locate, openSource, type Source } from "./source.js";

/** All of a plan but the projection. */
export type EncoderPlan = Omit<MediaPlan, "projector" | "calibrated">;

/** For a fresh model. */
export async function freshEncoders(
  modalities: Readonly<Record<string, FreshModality | undefined>>,
  kinds: Kinds,
  device: Device,
  dtype: "f32" | "bf16" | undefined,
  system: System,
  fetching: Fetching,
): Promise<EncoderPlan[]> {
  const plans: EncoderPlan[] = [];
  for (const [modality, kind] of kinds) {
    const options = modalities[modality];
    if (!options) continue;
    const encoder = options.encoder ?? kind.encoder;
    if (typeof encoder !== "string" && !isOwn(encoder))
      throw expected("E_MODALITY", `modalities.${modality}.encoder`, "an encoder", "none", "name a folder, or an id of the hub");
    const [unfit] = isOwn(encoder) ? (["layer", "pad"] as const).filter((name) => options[name] !== undefined) : [];
    if (unfit)
      throw expected(
        "E_MODALITY",
        `modalities.${modality}.${unfit}`,
        "none: an encoder of one's own reads media its own way",
        options[unfit],
      );
    const plan =
      typeof encoder === "string" ? inFolder(modality, await openSource(encoder, fetching), device, dtype) : ownPlan(kind, encoder, device);
    plans.push({ ...plan, setup: (opened) => completeSetup(modality, options, opened, system) });
  }
  return plans;
}

/** Those of a checkpoint, which must be the ones it was trained on, in the dtype that they had then. */
export async function storedEncoders(
  folder: string,
  modalities: Readonly<Record<string, Omit<ModalityEntry, "calibrated"> | undefined>>,
  kinds: Kinds,
  { device, dtype, encoders, ...fetching }: Pick<FromPretrainedOptions, "dtype" | "encoders"> & Fetching & { device: Device },
): Promise<EncoderPlan[]> {
  const plans: EncoderPlan[] = [];
  for (const [modality, kind] of kinds) {
    const entry = modalities[modality];
    if (!entry) continue;
    const { encoder: stored, projector, layer, select, frames, picks, pad } = entry;
    const setup: ModalitySetup = { projector, layer, select, frames, ...(picks && { picks }), ...(pad && { pad }) };
    const moved = encoders?.[modality];
    const plan =
      "own" in stored
        ? storedOwn(folder, kind, stored, moved, device)
        : inFolder(
            modality,
            await locate(folder, `the encoder of ${modality}`, stored, folderOf(folder, modality, moved), fetching),
            device,
            dtype ?? stored.dtype,
          );
    plans.push({ ...plan, setup: () => setup });
  }
  return plans;
}

export function folderOf(checkpoint: string, modality: Modality, moved: unknown): string | undefined {
  if (moved === undefined || typeof moved === "string") return moved;
  const what = `the encoder of ${modality} as it was trained on, in a folder`;
  throw new CheckpointError(checkpoint, what, "an encoder of one's own", "name the folder, or leave it out");
}

export function inFolder(
  modality: Modality,
  source: Source,
  device: Device,
  dtype: "f32" | "bf16" | undefined,
): Omit<EncoderPlan, "setup"> {
  return {
    modality,
    source,
    key: `${dtype} ${source.folder}`,
    open: () => AutoEncoder.fromPretrained(source.folder, { device, ...(dtype && { dtype }) }),
    processor: (setup) => processorFor(source.folder, setup),
  };
}

function processorFor(folder: string, { frames, picks, pad }: ModalitySetup): MediaProcessor<MediaPart> {
  if (pad) return ImageProcessor.fromPretrained(folder, { pad }) as MediaProcessor<MediaPart>;
  if (frames !== undefined) return new VideoProcessor(ImageProcessor.fromPretrained(folder), { frames, picks });
  return processorOf(folder);
}
