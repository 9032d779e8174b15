// Scores as others read them: result and sample files in lmms-eval's form (its loader of baselines and its server find them by their names), and a result
// for a model's card on the hub.
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { onFile } from "../../core/file-error.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { writeWhole } from "../../io/whole-file.js";
import type { Prediction } from "./predictions.js";
import type { EvalReport, ShownScores } from "./scoring.js";

export interface WriteResultsOptions {
  /** Where the model's card says that the numbers are from. */
  source?: { url: string; name?: string };
}
const OPTIONS = optionNames<WriteResultsOptions>({ source: true });

/** Files that were written. */
export interface ResultFiles {
  results: string;
  samples: string[];
  /** Undefined where the hub has no benchmark of the task's. */
  hub?: string;
}

/** Writes MODEL/DATE_results.json, MODEL/DATE_samples_TASK.jsonl for each kind of media that was shown, and .eval_results/TASK.yaml into `output`. */
export async function writeResults(report: EvalReport, output: string, options: WriteResultsOptions = {}): Promise<ResultFiles> {
  checkOptions("writeResults", options, OPTIONS);
  const { head, task, shown } = report;
  const folder = join(output, sanitized(head.model));
  await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
  const date = dateId(head.date);
  const results = join(folder, `${date}_results.json`);
  await writeWhole(results, `${JSON.stringify(resultsOf(report, date), null, 2)}\n`);
  const samples: string[] = [];
  for (const scores of shown) {
    const path = join(folder, `${date}_samples_${nameOf(task.name, scores)}.jsonl`);
    await writeWhole(path, scores.lines.map((line, i) => `${JSON.stringify(sampleOf(line, i, scores))}\n`).join(""));
    samples.push(path);
  }
  if (!task.hub) return { results, samples };
  const own = join(output, ".eval_results");
  await onFile("to be written", own, () => mkdir(own, { recursive: true }));
  const hub = join(own, `${task.name}.yaml`);
  await writeWhole(hub, hubResult(report, options));
  return { results, samples, hub };
}

/** As lmms-eval calls a model's folder. */
export const sanitized = (model: string): string => model.replace(/["<>:/|\\?*[\]]+/g, "__");
const nameOf = (task: string, { shown }: Pick<ShownScores, "shown">): string => (shown === "own" ? task : `${task}-${shown}`);
/** 20261130_095500 */
const dateId = (date: string): string => date.slice(0, 19).replace(/[-:]/g, "").replace("T", "_");
const hashOf = (text: string): string => createHash("sha256").update(text).digest("hex");
const docHash = ({ doc }: Prediction): string => hashOf(JSON.stringify(doc, null, 2));

/** The filter that a metric went through: none, in all tasks here. */
const named = (metric: string): string => `${metric},none`;

function resultsOf({ head, task, rule, shown }: EvalReport, date: string): object {
  const by = <T>(of: (scores: ShownScores) => T): Record<string, T> =>
    Object.fromEntries(shown.map((scores) => [nameOf(task.name, scores), of(scores)]));
  const convention = task.conventions[rule] ?? task.conventions.anymal;
  return {
    results: by((scores) => ({
      alias: nameOf(task.name, scores),
      ...Object.fromEntries(
        Object.entries(scores.metrics).flatMap(([metric, value]) => [
          [named(metric), value],
          [named(`${metric}_stderr`), scores.standardErrors[metric] ?? "N/A"],
        ]),
      ),
    })),
    group_subtasks: {},
    configs: by((scores) => ({
      task: nameOf(task.name, scores),
      test_split: head.split,
      output_type: convention.options ? "loglikelihood" : "generate_until",
      generation_kwargs: { max_new_tokens: head.maxNewTokens, do_sample: false },
      metric_list: Object.keys(scores.metrics).map((metric) => ({ metric, higher_is_better: !task.lowerIsBetter?.includes(metric) })),
      metadata: {
        prompts: head.prompts,
        rule,
        convention: convention.source,
        source: task.source,
        shown: scores.shown,
        notes: scores.notes ?? [],
      },
    })),
    versions: by(() => 1),
    "n-shot": by(() => 0),
    higher_is_better: by(({ metrics }) =>
      Object.fromEntries(Object.keys(metrics).map((metric) => [metric, !task.lowerIsBetter?.includes(metric)])),
    ),
    "n-samples": by(({ lines }) => ({ original: head.questions + head.leftOut, effective: lines.length })),
    config: {
      model: "anymal",
      model_args: `pretrained=${head.model}`,
      gen_kwargs: `max_new_tokens=${head.maxNewTokens}`,
      random_seed: head.seed,
      numpy_seed: head.seed,
      torch_seed: head.seed,
    },
    git_hash: null,
    date,
    task_hashes: by(({ lines }) => hashOf(lines.map((line, i) => `sample_${i}${docHash(line)}`).join(""))),
    model_source: "anymal",
    model_name: head.model,
    model_name_sanitized: sanitized(head.model),
    data_hash: head.data,
  };
}

function sampleOf(line: Prediction, i: number, { parsed, items }: ShownScores): object {
  const own = Object.fromEntries(Object.entries(items).map(([metric, values]) => [metric, values[i]]));
  const [score] = Object.values(items);
  const { doc_id, id, target, input, input_media, answer, logProbabilities } = line;
  return {
    ...{ doc_id, id, target, resps: [answer], filtered_resps: parsed[i], doc_hash: docHash(line), input },
    ...{ input_media: input_media.map(({ modality, path }) => ({ type: modality, path })), token_counts: [null] },
    ...(logProbabilities && { log_probabilities: logProbabilities }),
    ...(score && { score: score[i] }),
    ...own,
  };
}

/** hub-docs, docs/hub/eval-results.md. Texts are written as JSON, which YAML contains. */
function hubResult({ head, task, rule, shown }: EvalReport, { source }: WriteResultsOptions): string {
  const [own] = shown;
  const [metric, value] = Object.entries(own?.metrics ?? {})[0] as [string, number];
  const { id, task: name } = task.hub as NonNullable<typeof task.hub>;
  const notes = `${metric}, a share of 1 or CIDEr of 10; prompts of ${head.prompts}, rule of ${rule}; ${own?.lines.length} of ${head.questions + head.leftOut} questions`;
  const lines = [
    `- dataset:`,
    `    id: ${JSON.stringify(id)}`,
    `    task_id: ${JSON.stringify(name)}`,
    `  value: ${value}`,
    `  date: ${JSON.stringify(head.date.slice(0, 10))}`,
    ...(source
      ? [`  source:`, `    url: ${JSON.stringify(source.url)}`, ...(source.name ? [`    name: ${JSON.stringify(source.name)}`] : [])]
      : []),
    `  notes: ${JSON.stringify(notes)}`,
    `  evaluation_framework: "anymal"`,
  ];
  return `${lines.join("\n")}\n`;
}
