// A folder that has a model's configuration and not its weights: enough to say what the model will hold.
import type { Device } from "../core/device.js";
import { isDry } from "../core/dry.js";
import { type WeightSource, weightFile } from "../io/checkpoint.js";
import { StateError } from "../nn/module.js";
import type { Quantization } from "../nn/weights.js";
import type { Json } from "./config.js";
import type { Place } from "./piece.js";

/** Is the model to be made of its configuration alone? On a dry device, where no number is read, that is all that it takes. */
export const isUnwritten = (place: Place, device: Device): place is string =>
  typeof place === "string" && isDry(device) && weightFile(place) === undefined;

/** The file that is not there. */
export function unwritten(path: string): WeightSource {
  const none = (name: string): never => {
    throw new StateError(`weights in ${path}`, `none, and "${name}" was asked for`);
  };
  return { path, names: () => [], has: () => false, entry: none, load: none, loadBytes: none, bytes: none };
}

/** How bitsandbytes stored the weights that config.json speaks of. */
export function storedQuantization({ quantization_config: stored }: Json): Quantization | undefined {
  if (typeof stored !== "object" || stored === null) return undefined;
  const { load_in_8bit, load_in_4bit, bnb_4bit_quant_type, bnb_4bit_use_double_quant } = stored as Json;
  if (load_in_8bit === true) return { format: "int8" };
  if (load_in_4bit !== true) return undefined;
  return { format: bnb_4bit_quant_type === "fp4" ? "fp4" : "nf4", doubleQuant: bnb_4bit_use_double_quant === true };
}
