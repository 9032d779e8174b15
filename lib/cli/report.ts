// `anymal report`: a run as one page.
import type { Command } from "commander";
import { command, print, printJson } from "./output.js";

const EXAMPLE = `
anymal report runs/align
anymal align --config recipe.yaml --validation heldout.jsonl --report-to html`;

export function reportCommand(): Command {
  const about = "Writes report.html into a run's folder: curves, what validation found, samples before and after; one file, no network.";
  return command("report", about, EXAMPLE)
    .argument("<run>", "the folder that --output named")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(folder: string, { json = false }: { json?: boolean }): Promise<void> {
  const { writeReport } = await import("../train/report/run-report.js");
  const path = await writeReport(folder);
  if (json) printJson({ type: "result", report: path });
  else print(path);
}
