// `anymal sweep`: one recipe with some of its values exchanged, each trained, asked and put into a table.
import { type Command, Option } from "commander";
import type { SweepPlan } from "../train/sweep/settings.js";
import { command, Interrupt, print, printJson, tell, UsageError } from "./output.js";

interface SweepFlags {
  output?: string;
  device?: string;
  json?: boolean;
}

const EXAMPLE = `
anymal sweep layers.yaml --output sweeps/layers

layers.yaml:
  recipe: { model: …, align: …, instruct: … }
  vary: { model.modalities.image.projector.layers: [1, 2, 6], answer.quantization: [nf4, none] }
  seeds: [0, 1, 2]
  ask: { data: heldout.json }`;

export function sweepCommand(): Command {
  const about =
    "Trains a recipe with some of its values exchanged, asks each model about rows that were held out, and writes a table and charts. Goes on where it was ended.";
  return command("sweep", about, EXAMPLE)
    .argument("<plan>", "YAML: recipe, vary, seeds, ask; mode: grid for all combinations")
    .option("--output <folder>", "runs, sweep.md, sweep.json and charts")
    .addOption(new Option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)"))
    .option("--json", "JSON on standard output, for machines: a line a run, then the table")
    .action(run);
}

async function run(file: string, { output, device, json = false }: SweepFlags): Promise<void> {
  if (!output) throw new UsageError("anymal sweep", "--output is needed: the folder for runs and tables");
  using interrupt = new Interrupt();
  const { readYaml } = await import("../train/recipe.js");
  const { sweep } = await import("../train/sweep/sweep.js");
  const { sweepTable } = await import("../train/sweep/table.js");
  let said = performance.now();
  const rows = await sweep((await readYaml(file)) as SweepPlan, {
    output,
    ...(device && { device }),
    signal: interrupt.signal,
    onStep: (what, { step, steps, loss }) => {
      if (json || performance.now() - said < 10_000) return;
      said = performance.now();
      tell(`${what}: ${step}/${steps}, loss ${loss.toFixed(3)}`);
    },
    onResult: (name, result) => {
      if (json) return printJson({ name, ...result });
      tell(`${name}, seed ${result.seed}: ${(100 * result.exact).toFixed(1)} % exact, ${result.minutes.toFixed(1)} minutes`);
    },
  });
  if (json) printJson({ output, table: rows });
  else print(sweepTable(rows));
}
