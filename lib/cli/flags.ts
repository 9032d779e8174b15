// Flags that several commands take: which model, where it is, how it runs.
import { type Command, InvalidArgumentError, Option } from "commander";
import type { FromPretrainedOptions } from "../anymal/anymal.js";
import type { QuantizationName } from "../anymal/options.js";
import { Downloads } from "./downloads.js";
import { KINDS_FLAG, kinds, ownKinds } from "./kinds.js";
import { list } from "./output.js";

export type PerModality<T> = Readonly<Record<string, T>>;

export interface ModelFlags {
  model?: string;
  llm?: string;
  encoder?: PerModality<string>;
  quantization?: QuantizationName;
  device?: string;
  dtype?: "f32" | "bf16";
  localFilesOnly?: boolean;
  json?: boolean;
}

/** Adds them; `model` is how the help describes --model. */
export function modelFlags(command: Command, model: string): Command {
  return command
    .option("--model <folder>", model)
    .option("--llm <folder or id>", "the language model, a folder or org/name[@revision] of the hub; with --model: where it is now")
    .option("--encoder <modality=folder or id>", "an encoder, once for each modality; with --model: where it is now", perModality)
    .addOption(new Option("--quantization <form>", "how the language model is held").choices(["nf4", "fp4", "int8", "none"]))
    .option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)")
    .addOption(new Option("--dtype <type>", "of activations and frozen weights").choices(["f32", "bf16"]))
    .option(`${KINDS_FLAG} <file>`, "a module of yours that exports kinds of media, made with mediaKind(); may come several times", list)
    .option("--local-files-only", "no request to the hub, not for what a checkpoint names either")
    .option("--json", "JSON on standard output, for machines");
}

/** What the flags say to AnyMAL.fromPretrained. */
export function loadOptions(flags: ModelFlags, signal?: AbortSignal): FromPretrainedOptions {
  const { llm, encoder, quantization, device, dtype, localFilesOnly } = flags;
  return {
    signal,
    onProgress: new Downloads().onProgress,
    kinds: ownKinds(),
    ...(llm && { llm }),
    ...(encoder && { encoders: encoder }),
    ...(quantization && { quantization }),
    ...(device && { device }),
    ...(dtype && { dtype }),
    ...(localFilesOnly && { localFilesOnly }),
  };
}

/** "image=FOLDER", gathered over several flags. */
export function perModality(text: string, before: PerModality<string> = {}): PerModality<string> {
  const at = text.indexOf("=");
  const [modality, value] = [text.slice(0, at), text.slice(at + 1)];
  if (at < 0 || !value || !kinds().has(modality))
    throw new InvalidArgumentError(`Expected MODALITY=…, with one of ${[...kinds().keys()].join(", ")}`);
  return { ...before, [modality]: value };
}
