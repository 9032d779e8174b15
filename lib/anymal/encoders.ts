// A model's encoders. Modalities that name one folder share one encoder: images and videos through one CLIP.
import type { Device } from "../core/device.js";
import { processorOf } from "../media/auto-processor.js";
import { ImageProcessor } from "../media/image-processor.js";
import type { MediaPart, MediaProcessor, Modality } from "../media/part.js";
import { VideoProcessor } from "../media/video-processor.js";
import { AutoEncoder } from "../models/auto-encoder.js";
import type { System } from "../systems/system.js";
import type { MediaPlan } from "./build.js";
import type { Manifest } from "./manifest.js";
import { completeSetup, type FromPretrainedOptions, MODALITIES, type ModalityOptions, type ModalitySetup } from "./options.js";
import { type Fetching, locate, openSource, type Source } from "./source.js";

/** All of a plan but the projection. */
export type EncoderPlan = Omit<MediaPlan, "projector" | "calibrated">;

/** For a fresh model. */
export async function freshEncoders(
  modalities: Partial<Record<Modality, ModalityOptions>>,
  device: Device,
  dtype: "f32" | "bf16" | undefined,
  system: System,
  fetching: Fetching,
): Promise<EncoderPlan[]> {
  const plans: EncoderPlan[] = [];
  for (const modality of MODALITIES) {
    const options = modalities[modality];
    if (!options) continue;
    const source = await openSource(options.encoder, fetching);
    plans.push({ ...inFolder(modality, source, device, dtype), setup: (encoder) => completeSetup(modality, options, encoder, system) });
  }
  return plans;
}

/** Those of a checkpoint, which must be the ones it was trained on, in the dtype that they had then. */
export async function storedEncoders(
  folder: string,
  { modalities }: Manifest,
  { device, dtype, encoders, ...fetching }: Pick<FromPretrainedOptions, "dtype" | "encoders"> & Fetching & { device: Device },
): Promise<EncoderPlan[]> {
  const plans: EncoderPlan[] = [];
  for (const modality of MODALITIES) {
    const entry = modalities[modality];
    if (!entry) continue;
    const source = await locate(folder, `the encoder of ${modality}`, entry.encoder, encoders?.[modality], fetching);
    const { projector, layer, select, frames } = entry;
    const setup: ModalitySetup = { projector, layer, select, frames };
    plans.push({ ...inFolder(modality, source, device, dtype ?? entry.encoder.dtype), setup: () => setup });
  }
  return plans;
}

function inFolder(modality: Modality, source: Source, device: Device, dtype: "f32" | "bf16" | undefined): Omit<EncoderPlan, "setup"> {
  return {
    modality,
    source,
    key: `${dtype} ${source.folder}`,
    open: () => AutoEncoder.fromPretrained(source.folder, { device, ...(dtype && { dtype }) }),
    processor: (setup) => processorFor(source.folder, setup),
  };
}

function processorFor(folder: string, { frames }: ModalitySetup): MediaProcessor<MediaPart> {
  if (frames !== undefined) return new VideoProcessor(ImageProcessor.fromPretrained(folder), { frames });
  return processorOf(folder);
}
