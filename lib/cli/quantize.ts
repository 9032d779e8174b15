// `anymal quantize`: a language model's folder in 4 or 8 bits, in the layout of bitsandbytes.
import { type Command, Option } from "commander";
import { checkFresh, configOf, copyBeside, sizeText } from "./folders.js";
import { command, Interrupt, integer, print, printJson, tell, UsageError } from "./output.js";

interface QuantizeFlags {
  format: "nf4" | "fp4" | "int8";
  doubleQuant?: boolean;
  block?: number;
  device?: string;
  localFilesOnly?: boolean;
  json?: boolean;
}

const EXAMPLE = `
anymal quantize models/llama-2-7b models/llama-2-7b-nf4 --double-quant
anymal quantize models/llama-2-7b models/llama-2-7b-int8 --format int8`;

export function quantizeCommand(): Command {
  const about =
    "Writes a language model in 4 or 8 bits, as bitsandbytes and transformers load it. Embedding, norms and head stay as they are.";
  return command("quantize", about, EXAMPLE)
    .argument("<in>", "a language model: a folder in Hugging Face layout, or an id of the hub")
    .argument("<out>", "the folder to write; new or empty")
    .addOption(new Option("--format <name>", "of the linear layers' weights").choices(["nf4", "fp4", "int8"]).default("nf4"))
    .option("--double-quant", "nf4, fp4: block maxima in 8 bits too, which saves 0.37 bits a weight")
    .option("--block <n>", "nf4, fp4: weights that share a maximum (default: 64)", integer(32))
    .option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)")
    .option("--local-files-only", "no request to the hub")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(from: string, to: string, flags: QuantizeFlags): Promise<void> {
  const { format, doubleQuant = false, block } = flags;
  const wrong = (message: string) => new UsageError("anymal quantize", message);
  if (format === "int8" && (doubleQuant || block))
    throw wrong("int8 has a scale for each row: --double-quant and --block are for nf4 and fp4");
  if (block && (block & (block - 1) || block > 4096)) throw wrong("--block: expected a power of two from 32 to 4096");
  checkFresh("anymal quantize", to);
  using interrupt = new Interrupt();
  const { AutoModelForCausalLM } = await import("../models/auto-causal-lm.js");
  const { ConfigError } = await import("../models/config.js");
  const { resolveModel } = await import("../io/hub.js");
  const { saveModel } = await import("../io/model-folder.js");
  const { storedBytes } = await import("./inspect-weights.js");

  const folder = await resolveModel(from, { signal: interrupt.signal, localFilesOnly: flags.localFilesOnly });
  const config = await configOf("anymal quantize", folder, "its weights are quantised already; take the model that it was made of");
  if (config.quantization_config)
    throw new ConfigError(
      "quantization_config",
      "absent",
      config.quantization_config,
      "quantise the model in full precision, which loses less",
    );
  const start = performance.now();
  const quantization = { format, ...(format !== "int8" && { doubleQuant, ...(block && { block }) }) };
  const loading = { quantization, signal: interrupt.signal, ...(flags.device && { device: flags.device }) };
  using model = await AutoModelForCausalLM.fromPretrained(folder, loading);
  interrupt.notice = "writing; Ctrl-C again ends at once";
  await saveModel(to, model, config);
  copyBeside(folder, to);
  const [before, after] = [storedBytes(folder), storedBytes(to)];
  const seconds = (performance.now() - start) / 1000;
  if (interrupt.signal.aborted) tell("it was all but done: the folder is whole");
  if (flags.json) return printJson({ input: folder, output: to, ...quantization, bytesBefore: before, bytesAfter: after, seconds });
  const how = doubleQuant ? `${format} with double quantisation` : format;
  print(`${to}: ${how}, ${sizeText(before)} → ${sizeText(after)} in ${seconds.toFixed(1)} s`);
}
