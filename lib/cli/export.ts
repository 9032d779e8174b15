// `anymal export`: what stage 2 made of the language model, for others to load: merged as a folder of its own, or as a PEFT adapter.
import { copyFileSync, existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { onFileSync } from "../core/file-error.js";
import { checkLinks } from "../core/plain-file.js";
import { writeWhole } from "../io/whole-file.js";
import type { Quantization } from "../nn/weights.js";
import { gigabytes } from "./convert.js";
import { checkFresh, configOf, copyBeside, makeFolder } from "./folders.js";
import { command, Interrupt, print, printJson, UsageError } from "./output.js";

interface ExportFlags {
  adapter?: boolean;
  llm?: string;
  dtype?: "f32" | "bf16";
  maxShard?: number;
  device?: string;
  json?: boolean;
  localFilesOnly?: boolean;
}

/** An adapter's folder, where there is one, and the language model that it was trained on. */
interface Found {
  folder: string | undefined;
  /** The checkpoint, where it holds weights of the language model itself. */
  weights: string | undefined;
  llm: string;
  quantization: Quantization | undefined;
  dtype: "f32" | "bf16" | undefined;
  /** The checkpoint, where it has projections too. */
  projectors: string | undefined;
}

const EXAMPLE = `
anymal export runs/instruct models/my-llama
anymal export runs/instruct models/my-adapter --adapter
anymal export models/peft-adapter models/merged --llm models/llama-2-7b`;

export function exportCommand(): Command {
  const about =
    "Writes a trained run's language model with its LoRA merged, as a folder in Hugging Face layout, reads it back and says how far its logits moved; or the adapter alone, in PEFT's layout.";
  return command("export", about, EXAMPLE)
    .argument("<run>", "a folder of anymal instruct, a saved model, or a PEFT adapter")
    .argument("<out>", "the folder to write; new or empty")
    .option("--adapter", "the adapter alone; nothing is merged")
    .option("--llm <folder>", "where the language model is now, if it moved")
    .addOption(new Option("--dtype <type>", "of the merged weights (default: that of the run)").choices(["f32", "bf16"]))
    .option("--max-shard <GB>", "size of one file at most (default: 5)", gigabytes)
    .option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)")
    .option("--local-files-only", "no request to the hub, not for what the run names either")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(from: string, to: string, flags: ExportFlags): Promise<void> {
  const { adapter = false, dtype, maxShard } = flags;
  if (adapter && (dtype || maxShard)) throw new UsageError("anymal export", "--dtype and --max-shard are for merged weights");
  checkFresh("anymal export", to);
  const trained = await find(from, flags);
  return adapter ? copyAdapter(trained, to, flags) : merge(trained, to, flags);
}

async function find(from: string, { llm: moved, localFilesOnly = false }: ExportFlags): Promise<Found> {
  const { checkpointFolder, MANIFEST, readManifest } = await import("../anymal/manifest.js");
  const { CheckpointError } = await import("../anymal/checkpoint-error.js");
  const { locate } = await import("../anymal/source.js");
  const { readJson } = await import("../models/config.js");
  if (existsSync(join(from, "adapter_config.json")) && !existsSync(join(from, MANIFEST))) {
    const { config } = await adapterOf(from, readJson);
    const named = (config as { baseModel?: string }).baseModel;
    const base = moved ?? [named, named && join(from, named)].find((path) => path && existsSync(path));
    if (base === undefined || !existsSync(base))
      throw new UsageError(
        "anymal export",
        `--llm is needed: the model that ${from} was trained on; ${moved ?? named ?? "its name"} is no folder here`,
      );
    return { folder: from, weights: undefined, llm: resolve(base), quantization: undefined, dtype: undefined, projectors: undefined };
  }
  const folder = checkpointFolder(from);
  const manifest = await readManifest(folder);
  const onLlm = manifest.adapters.filter(({ on }) => on === "llm");
  const [lora] = onLlm;
  if (!lora && !manifest.trained)
    throw new CheckpointError(
      folder,
      "a model whose language model was trained, itself or by LoRA",
      "one whose language model is as it was",
      "stage 1 trains projections only, which the folder itself holds; export what anymal instruct made",
    );
  if (onLlm.length > 1)
    throw new CheckpointError(
      folder,
      "one adapter on the language model",
      onLlm.map(({ name }) => name).join(", "),
      "name the folder of the one that is meant, adapters/NAME in it, and the language model with --llm",
    );
  const source = await locate(folder, "the language model", manifest.llm, moved, { mayDiffer: true, localFilesOnly });
  const projectors = Object.keys(manifest.modalities).length > 0 ? folder : undefined;
  return {
    folder: lora && join(folder, lora.folder),
    weights: manifest.trained ? folder : undefined,
    llm: source.folder,
    quantization: manifest.llm.quantization ?? undefined,
    dtype: manifest.llm.dtype,
    projectors,
  };
}

async function copyAdapter({ folder, weights: trained, llm }: Found, to: string, { json }: ExportFlags): Promise<void> {
  if (folder === undefined || trained !== undefined)
    throw new UsageError(
      "anymal export",
      "--adapter is for a language model that was trained by LoRA alone; without it all that was trained is written",
    );
  const { readJson } = await import("../models/config.js");
  const { json: own, kind, config } = await adapterOf(folder, readJson);
  await makeFolder(to);
  const weights = join(to, kind.files.weights);
  const held = join(folder, kind.files.weights);
  checkLinks(folder, held);
  onFileSync("to be written", weights, () => copyFileSync(held, weights));
  // Readers look here for the model that the adapter belongs to.
  const base = own.peft_type === undefined ? { base: llm } : { base_model_name_or_path: llm };
  await writeWhole(join(to, kind.files.config), `${JSON.stringify({ ...own, ...base }, null, 2)}\n`);
  const { r, alpha } = config as { r?: number; alpha?: number };
  if (json) return printJson({ output: to, kind: "adapter", llm, ...(r === undefined ? { adapter: kind.name } : { r, alpha }) });
  print(`${to}: adapter ${r === undefined ? `of kind ${kind.name}` : `of rank ${r}, alpha ${alpha}`}, for ${llm}`);
}

/** What an adapter's own configuration says. */
async function adapterOf(folder: string, readJson: (path: string) => Record<string, unknown>) {
  const { adapterKindOf } = await import("../adapters/load-adapter.js");
  const json = readJson(join(folder, "adapter_config.json"));
  const kind = adapterKindOf(json, folder);
  return { json, kind, config: kind.read(json) };
}

async function merge(trained: Found, to: string, flags: ExportFlags): Promise<void> {
  const { folder, weights, llm, quantization, projectors } = trained;
  using interrupt = new Interrupt();
  const { exportMerged } = await import("../adapters/export.js");
  const { loadAdapter } = await import("../adapters/load-adapter.js");
  const { Trained } = await import("../anymal/trained.js");
  const { AutoModelForCausalLM } = await import("../models/auto-causal-lm.js");
  const { signal } = interrupt;
  const config = await configOf(
    "anymal export",
    llm,
    "name the model that it was made of with --llm, or take --adapter, the adapter alone",
  );
  const start = performance.now();
  const loading = { signal, ...(quantization && { quantization }), ...(trained.dtype && { dtype: trained.dtype }) };
  const model = await AutoModelForCausalLM.fromPretrained(llm, { ...loading, ...(flags.device && { device: flags.device }) });
  let open = true;
  const close = () => {
    if (open) model.dispose();
    open = false;
  };
  try {
    if (weights !== undefined) await (await Trained.open(weights)).lay(model, signal);
    const layers = folder === undefined ? 0 : (await loadAdapter(model, folder)).wraps.size;
    signal.throwIfAborted();
    const drift = await exportMerged(model, to, config, {
      ...(flags.dtype && { dtype: flags.dtype }),
      ...(flags.maxShard && { maxShardBytes: flags.maxShard }),
      onWritten: close,
    });
    copyBeside(llm, to);
    const seconds = (performance.now() - start) / 1000;
    if (flags.json) return printJson({ output: to, kind: "merged", llm, layers, drift, seconds });
    const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
    print(`${to}: ${weights === undefined ? "" : "trained weights, "}${layers} layers merged in ${seconds.toFixed(1)} s`);
    print(
      `read back, logits moved by ${drift.largest.toPrecision(3)} at most and ${drift.mean.toPrecision(3)} on average; divergence ${drift.divergence.toPrecision(3)} nats; ` +
        `the same best token at ${percent(drift.sameBest)} of ${drift.positions} positions`,
    );
    if (projectors)
      print(`the projections stay in ${join(projectors, "projectors")}: anymal generate --model ${projectors} uses all of it`);
  } finally {
    close();
  }
}
