// `anymal inspect`: what a folder is.
import type { Command } from "commander";
import { sizeText } from "./folders.js";
import type { Inspected } from "./inspect-folder.js";
import { command, print, printJson } from "./output.js";
import { table } from "./table.js";

const EXAMPLE = `
anymal inspect models/llama-2-7b
anymal inspect runs/instruct --json`;

/** As many lines as a screen has; --json has all. */
const MOST_GROUPS = 40;

export function inspectCommand(): Command {
  const about =
    "Says what a folder is: a language model, an encoder, a trained model, an adapter; its shapes, and its size in each storage.";
  return command("inspect", about, EXAMPLE)
    .argument("<folder>", "in Hugging Face layout, of a training run, or of PEFT; or one file, safetensors or GGUF")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(folder: string, { json }: { json?: boolean }): Promise<void> {
  const { inspectFolder } = await import("./inspect-folder.js");
  const found = await inspectFolder(folder);
  if (json) return printJson({ ...found, facts: Object.fromEntries(found.facts) });
  show(found);
}

function show({ path, about, facts, weights, sizes }: Inspected): void {
  print(`${path}: ${about}`);
  table(facts.map(([label, value]) => [label, String(value)]));
  if (weights) {
    const { groups, tensors, parameters, files, storedBytes } = weights;
    print(`\n${tensors} tensors, ${parameters} numbers, ${sizeText(storedBytes)} in ${files} file${files === 1 ? "" : "s"}`);
    table(
      groups
        .slice(0, MOST_GROUPS)
        .map(({ name, count, shape, dtype }) => [name, count > 1 ? `${count} ×` : "", `[${shape.join(", ")}]`, dtype]),
    );
    if (groups.length > MOST_GROUPS) print(`  and ${groups.length - MOST_GROUPS} more; --json has all`);
  }
  if (sizes) {
    print("\nin memory, as");
    table(Object.entries(sizes).map(([storage, bytes]) => [storage, sizeText(bytes)]));
  }
}
