// `anymal systems`: which systems of the literature are here, and what each is made of.
import type { Command } from "commander";
import { SYSTEMS } from "../systems/index.js";
import type { System } from "../systems/system.js";
import { command, print, printJson } from "./output.js";
import { table } from "./table.js";

const EXAMPLE = `
anymal systems
anymal systems --json`;

export function systemsCommand(): Command {
  const about =
    "Says which systems can be assembled by name: what they take in, how it reaches the language model, what trains, and from which paper.";
  return command("systems", about, EXAMPLE).option("--json", "JSON on standard output, for machines").action(run);
}

function run({ json }: { json?: boolean }): void {
  if (json) {
    printJson({ systems: SYSTEMS });
    return;
  }
  table([["system", "takes", "through", "adds", "stages", "paper"], ...Object.values<System>(SYSTEMS).map(row)]);
  print("\n--json has all numbers, with where they stand.");
}

function row({ name, paper, modalities, adapters, stages }: System): string[] {
  const bridges = [...new Set(Object.values(modalities).map(({ projector }) => projector.type))];
  const loras = Object.values(stages).flatMap(({ lora }) => (lora ? ["lora"] : []));
  const added = [...new Set([...adapters.map(({ kind }) => kind), ...loras])];
  return [name, Object.keys(modalities).join(", "), bridges.join(", "), added.join(", ") || "–", Object.keys(stages).join(", "), paper];
}
