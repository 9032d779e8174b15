// `anymal convert`: files of torch.save as a folder in safetensors.
import { type Command, InvalidArgumentError } from "commander";
import { KEY_TABLES } from "../io/key-tables/index.js";
import { checkFresh, sizeText } from "./folders.js";
import { command, Interrupt, print, printJson } from "./output.js";

interface ConvertFlags {
  key?: string;
  table?: string;
  maxShard?: number;
  json?: boolean;
}

const EXAMPLE = `
anymal convert pytorch_model.bin models/mine
anymal convert downloads/llama-2-7b models/llama-2-7b     # Meta's consolidated.00.pth and params.json
anymal convert clap.pt models/clap --key state_dict`;

export function convertCommand(): Command {
  const about =
    "Writes what torch.save wrote (.bin, .pt, .pth, .ckpt; one file, or the folder of a model's) as a folder in safetensors. Nothing of a pickle is run: a file that holds more than tensors in plain containers is refused by the name of what it holds.";
  return command("convert", about, EXAMPLE)
    .argument("<in>", "a file of torch.save, or a folder with pytorch_model.bin, its shards, consolidated.NN.pth or adapter_model.bin")
    .argument("<out>", "the folder to write; new or empty")
    .option("--key <name>", "which dict of tensors, where the file holds several, e.g. state_dict; . is the file itself")
    .option("--table <name>", `whose names the file has: ${KEY_TABLES.map(({ name }) => name).join(", ")}, or none (default: by the names)`)
    .option("--max-shard <GB>", "size of one file at most (default: 5)", gigabytes)
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

export function gigabytes(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError("Expected a number of gigabytes above 0");
  return value * 1e9;
}

async function run(from: string, to: string, { key, table, maxShard, json }: ConvertFlags): Promise<void> {
  checkFresh("anymal convert", to);
  using interrupt = new Interrupt();
  const { convertCheckpoint } = await import("../io/convert.js");
  const done = await convertCheckpoint(from, to, { key, table, maxShardBytes: maxShard, signal: interrupt.signal });
  if (json) return printJson({ input: from, output: to, ...done });
  const named = done.table === undefined ? "names as they were" : `names of ${done.table} as Hugging Face has them`;
  print(
    `${to}: ${done.tensors} tensors, ${sizeText(done.bytes)} in ${done.files.length === 1 ? done.files[0] : `${done.files.length} files`}, ${named}`,
  );
  if (done.left.length)
    print(
      `not written: ${done.left.length} tensors that no model here has (${done.left.slice(0, 3).join(", ")}${done.left.length > 3 ? ", …" : ""})`,
    );
  for (const name of done.tied) print(`not written: ${name}, which config.json ties to the embedding`);
  if (done.made.length) print(`made from the shapes: ${done.made.join(", ")}`);
  if (done.copied.length) print(`copied: ${done.copied.join(", ")}`);
}
