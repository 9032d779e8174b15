// `anymal judge`: a sheet on which people compare answers, and what their verdicts come to.
import { dirname, join } from "node:path";
import type { Command } from "commander";
import type { Share } from "../judges/verdicts.js";
import { command, Interrupt, integer, list, print, printJson, UsageError } from "./output.js";
import { table } from "./table.js";

interface JudgeFlags {
  data?: string;
  output?: string;
  count: number;
  seed: number;
  verdicts?: string[];
  key?: string;
  json?: boolean;
}

const EXAMPLE = `
anymal judge runs/a/predictions.jsonl runs/b/predictions.jsonl --data mm-it --output sheet
anymal judge --verdicts verdicts-ann.json --verdicts verdicts-bo.json --key sheet/key.json`;

export function judgeCommand(): Command {
  const about =
    "Writes a page on which people compare two models' answers, or a model's with the data set's own, without knowing whose is whose; counts their verdicts.";
  return command("judge", about, EXAMPLE)
    .argument("[a]", "predictions.jsonl of anymal eval")
    .argument("[b]", "those of another model; without: the right answers of the data set")
    .option("--data <folder>", "where the benchmark was unpacked: media can be seen and heard then")
    .option("--output <folder>", "of sheet.html, for judges, and key.json, for nobody who judges")
    .option("--count <n>", "so many questions at most", integer(1), 100)
    .option("--seed <n>", "of which questions, and which side", integer(), 0)
    .option("--verdicts <file>", "that a sheet has saved; may come several times", list)
    .option("--key <file>", "of --verdicts: key.json of their sheet")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(a: string | undefined, b: string | undefined, flags: JudgeFlags): Promise<void> {
  const wrong = (message: string) => new UsageError("anymal judge", message);
  const { verdicts, key, json = false, data, output, count, seed } = flags;
  if (verdicts) {
    if (a !== undefined) throw wrong("--verdicts counts what judges have said: leave the predictions out");
    if (!key) throw wrong("--key is needed: key.json, which lies beside the sheet");
    return tell(verdicts, key, json);
  }
  if (a === undefined || !output) throw wrong("predictions and --output are needed, or --verdicts");
  using interrupt = new Interrupt();
  const { writeJudgeSheet } = await import("../judges/sheet.js");
  const made = await writeJudgeSheet(a, b, output, { count, seed, signal: interrupt.signal, ...(data && { data }) });
  if (json) return printJson({ type: "result", ...made });
  print(`${made.sheet}: ${made.pairs} pairs`);
  print(`${made.key}: whose answers are whose; keep it from the judges`);
  print(`then: anymal judge --verdicts FILE --key ${join(dirname(made.sheet), "key.json")}`);
}

async function tell(files: readonly string[], keyFile: string, json: boolean): Promise<void> {
  const { readKey, readVerdicts, scoreVerdicts } = await import("../judges/verdicts.js");
  const report = scoreVerdicts(await readKey(keyFile), await Promise.all(files.map(readVerdicts)));
  if (json) return printJson({ type: "result", ...report });
  const { win, tie, lose, rubric, judges, agreement } = report;
  print(`${report.task}: ${report.a} against ${report.b}, ${report.pairs} of ${report.of} pairs, ${judges.length} judges`);
  table([
    [`${report.a} wins`, written(win)],
    ["equal", written(tie)],
    [`${report.b} wins`, written(lose)],
  ]);
  table([["", report.a, report.b], ...Object.entries(rubric).map(([name, points]) => [name, written(points.a), written(points.b)])]);
  if (agreement !== undefined) print(`two judges say the same of ${percent(agreement)} of pairs`);
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
const written = (share: Share | undefined): string =>
  share ? `${percent(share.share)} (${percent(share.low)} to ${percent(share.high)})` : "–";
