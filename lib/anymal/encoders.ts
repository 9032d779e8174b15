// A model's encoders. Modalities that name one folder share one encoder: images and videos through one CLIP.
import type { Device } from "../core/device.js";
import { processorOf } from "../media/auto-processor.js";
import { ImageProcessor } from "../media/image-processor.js";
import type { MediaPart, MediaProcessor, Modality } from "../media/part.js";
import { VideoProcessor } from "../media/video-processor.js";
import { AutoEncoder } from "../models/auto-encoder.js";
import type { Encoder } from "../models/encoder.js";
import { type Fetching, locate, type Manifest, openSource, type Source } from "./manifest.js";
import { MediaEncoder } from "./media-encoder.js";
import { completeSetup, MODALITIES, type ModalityOptions, type ModalitySetup } from "./options.js";

interface Wanted {
  source: Source;
  dtype: "f32" | "bf16" | undefined;
  setupFor: (encoder: Encoder) => ModalitySetup;
}

/** For a fresh model. */
export async function loadEncoders(
  modalities: Partial<Record<Modality, ModalityOptions>>,
  device: Device,
  dtype?: "f32" | "bf16",
  fetching: Fetching = {},
): Promise<Map<Modality, MediaEncoder>> {
  const wanted = new Map<Modality, Wanted>();
  for (const modality of MODALITIES) {
    const options = modalities[modality];
    if (!options) continue;
    const setupFor = (encoder: Encoder) => completeSetup(modality, options, encoder);
    wanted.set(modality, { source: await openSource(options.encoder, fetching), dtype, setupFor });
  }
  return build(wanted, device);
}

/** Those of a checkpoint, which must be the ones it was trained on, in the dtype that they had then. */
export async function readEncoders(
  folder: string,
  { modalities }: Manifest,
  {
    device,
    dtype,
    encoders,
    ...fetching
  }: Fetching & { device: Device; dtype?: "f32" | "bf16"; encoders?: Partial<Record<Modality, string>> },
): Promise<Map<Modality, MediaEncoder>> {
  const wanted = new Map<Modality, Wanted>();
  for (const modality of MODALITIES) {
    const entry = modalities[modality];
    if (!entry) continue;
    const source = await locate(folder, `the encoder of ${modality}`, entry.encoder, encoders?.[modality], fetching);
    const { projector, layer, select, frames } = entry;
    wanted.set(modality, { source, dtype: dtype ?? entry.encoder.dtype, setupFor: () => ({ projector, layer, select, frames }) });
  }
  return build(wanted, device);
}

async function build(wanted: ReadonlyMap<Modality, Wanted>, device: Device): Promise<Map<Modality, MediaEncoder>> {
  const loaded = new Map<string, Encoder>();
  try {
    const result = new Map<Modality, MediaEncoder>();
    for (const [modality, { source, dtype, setupFor }] of wanted) {
      const key = `${dtype} ${source.folder}`;
      const encoder = loaded.get(key) ?? (await AutoEncoder.fromPretrained(source.folder, { device, ...(dtype && { dtype }) }));
      loaded.set(key, encoder);
      const setup = setupFor(encoder);
      result.set(modality, new MediaEncoder(modality, encoder, processorFor(source.folder, setup), setup, source));
    }
    return result;
  } catch (error) {
    for (const encoder of loaded.values()) encoder.dispose();
    throw error;
  }
}

function processorFor(folder: string, { frames }: ModalitySetup): MediaProcessor<MediaPart> {
  if (frames !== undefined) return new VideoProcessor(ImageProcessor.fromPretrained(folder), { frames });
  return processorOf(folder);
}
