// `anymal eval`: a benchmark asked, or answers scored again.
import { basename, dirname, resolve } from "node:path";
import { type Command, Option } from "commander";
import type { DataError } from "../data/row.js";
import type { EvalReport } from "../eval/run/scoring.js";
import { CONTROLS, type Control } from "../eval/run/shown.js";
import { EVAL_TASKS, evalTask } from "../eval/tasks/index.js";
import { type EvalTask, PROMPTS, type PromptsName } from "../eval/tasks/task.js";
import { loadOptions, type ModelFlags, modelFlags } from "./flags.js";
import { command, describeError, Interrupt, integer, list, print, printJson, tell, UsageError } from "./output.js";
import { table } from "./table.js";

interface EvalFlags extends ModelFlags {
  data?: string;
  output?: string;
  score?: string;
  prompts?: PromptsName;
  control?: Control[];
  split?: string;
  limit?: number;
  batch: number;
  seed: number;
  onBadRow: "throw" | "skip";
}

const EXAMPLE = `
anymal eval
anymal eval coco-captions --model runs/instruct --data coco --output runs/coco --control blank --control shuffled
anymal eval birds.yaml --model runs/instruct --data birds --output runs/birds
anymal eval --score runs/coco/predictions.jsonl`;

export function evalCommand(): Command {
  const about = "Asks a model a benchmark's questions and scores the answers. Without a task: lists them.";
  const evaluate = command("eval", about, EXAMPLE).argument(
    "[task]",
    "such as coco-captions, vqav2 or mme, or a file of one's own: birds.yaml",
  );
  return modelFlags(evaluate, "a folder that align, instruct or demo wrote")
    .option("--data <folder>", "where the benchmark was unpacked")
    .option(
      "--output <folder>",
      "of predictions.jsonl, by which a run that was ended goes on, and of results as lmms-eval and the hub have them",
    )
    .option("--score <file>", "a predictions.jsonl: scores it again, without a model")
    .addOption(
      new Option("--prompts <name>", "whose prompts, decoding and rule; with --score: whose rule (default: anymal)").choices(PROMPTS),
    )
    .option("--control <media>", `also asks with media that are ${CONTROLS.join(", ")}; may come several times`, list)
    .option("--split <name>", "of the benchmark; anymal eval TASK tells them")
    .option("--limit <n>", "only the first so many questions", integer(1))
    .option("--batch <n>", "questions together", integer(1), 8)
    .option("--seed <n>", "of media that are exchanged", integer(), 0)
    .addOption(new Option("--on-bad-row <what>", "a question that cannot be asked").choices(["throw", "skip"]).default("throw"))
    .action(run);
}

async function run(name: string | undefined, flags: EvalFlags): Promise<void> {
  const wrong = (message: string) => new UsageError("anymal eval", message);
  if (flags.score !== undefined) {
    if (name !== undefined || flags.model || flags.data)
      throw wrong("--score takes answers that are there: leave the task, --model and --data out");
    return scoreAgain(flags.score, flags);
  }
  if (name === undefined) return tasks(flags.json);
  const task = await named(name);
  const { model: folder, data, output } = flags;
  if (!folder && !data) return about(task, flags.json);
  if (!folder || !data || !output) throw wrong("--model, --data and --output are needed");
  const unknown = (flags.control ?? []).find((control) => !CONTROLS.includes(control));
  if (unknown !== undefined) throw wrong(`--control ${unknown}: expected one of ${CONTROLS.join(", ")}`);
  using interrupt = new Interrupt("stopping: the same command goes on from here");
  const { signal } = interrupt;
  const { AnyMAL } = await import("../anymal/anymal.js");
  const { answerTask } = await import("../eval/run/evaluate.js");
  const { scorePredictions } = await import("../eval/run/scoring.js");
  const { savedFingerprint } = await import("../anymal/saved-fingerprint.js");
  await using model = await AnyMAL.fromPretrained(folder, loadOptions(flags, signal));
  let left = 0;
  const predictions = await answerTask(model, task, {
    ...{ data, output, batch: flags.batch, seed: flags.seed, onBadRow: flags.onBadRow, signal, name: basename(resolve(folder)) },
    fingerprint: [await savedFingerprint(folder), ...settings(flags)].join(" "),
    ...(flags.prompts && { prompts: flags.prompts }),
    ...(flags.control && { controls: flags.control }),
    ...(flags.split && { split: flags.split }),
    ...(flags.limit && { limit: flags.limit }),
    onProblem: (problem: DataError) => void tell(`${++left}: ${describeError(problem)}`),
    onProgress: progress(),
  });
  await show(await scorePredictions(predictions), output, flags);
}

/** One that is here from the start, or a file's. */
async function named(name: string): Promise<EvalTask> {
  if (!/\.ya?ml$/i.test(name)) return evalTask(name);
  const { readTaskFile } = await import("../eval/tasks/task-file.js");
  return readTaskFile(name);
}

/** Flags that change bits. */
const settings = ({ quantization, dtype, device, llm, encoder }: EvalFlags): string[] =>
  [quantization, dtype, device, llm, ...Object.values(encoder ?? {})].map((one) => one ?? "-");

/** A line each ten seconds. */
function progress(): (done: number, all: number) => void {
  let last = performance.now();
  return (done, all) => {
    if (performance.now() - last < 10_000 && done < all) return;
    last = performance.now();
    tell(`${done} of ${all} answers`);
  };
}

async function scoreAgain(path: string, { output, prompts, json }: EvalFlags): Promise<void> {
  const { scorePredictions } = await import("../eval/run/scoring.js");
  await show(await scorePredictions(path, prompts ? { prompts } : {}), output ?? dirname(path), { json });
}

async function show(report: EvalReport, output: string, { json }: Pick<EvalFlags, "json">): Promise<void> {
  const { writeResults } = await import("../eval/run/results.js");
  const files = await writeResults(report, output);
  const { head, rule, shown } = report;
  if (json) {
    const scores = Object.fromEntries(
      shown.map(({ shown: name, metrics, standardErrors, unanswered }) => [name, { metrics, standardErrors, unanswered }]),
    );
    printJson({
      type: "result",
      task: head.task,
      prompts: head.prompts,
      rule,
      questions: head.questions,
      leftOut: head.leftOut,
      scores,
      files,
    });
    return;
  }
  print(
    `${head.task}, ${head.split ? `${head.split}, ` : ""}${head.questions} questions, prompts of ${head.prompts}, rule of ${rule}: ${head.model}`,
  );
  const names = Object.keys(shown[0]?.metrics ?? {});
  table([
    ["", ...shown.map(({ shown: name }) => name)],
    ...names.map((metric) => [
      metric,
      ...shown.map(({ metrics, standardErrors: { [metric]: error } }) => {
        const value = metrics[metric];
        return value === undefined ? "" : value.toFixed(4) + (error === undefined ? "" : ` ± ${error.toFixed(4)}`);
      }),
    ]),
  ]);
  for (const { shown: name, unanswered } of shown) if (unanswered) print(`${unanswered} questions without an answer (${name})`);
  if (head.leftOut) print(`${head.leftOut} questions left out`);
  for (const note of new Set(shown.flatMap(({ notes = [] }) => notes))) print(note);
  print(`written: ${files.results}`);
}

function tasks(json = false): void {
  if (json) for (const task of EVAL_TASKS.values()) about(task, true);
  else table([...EVAL_TASKS.values()].map(({ name, about: line }) => [name, line]));
}

function about(task: EvalTask, json = false): void {
  const { name, about: line, source, layout, modality, splits, conventions } = task;
  const prompts = Object.fromEntries(Object.entries(conventions).map(([key, { source: from }]) => [key, from]));
  if (json) {
    printJson({ name, about: line, source, layout, modality, splits: splits ?? [], prompts });
    return;
  }
  print(`${name}: ${line}`);
  table([
    ["source", source],
    ["data", layout],
    ...(splits ? [["splits", splits.join(", ")]] : []),
    ...Object.entries(prompts).map(([key, from]) => [`--prompts ${key}`, from]),
  ]);
}
