// Answers to numbers, without a model: the same answers give the same bits.
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { conventionOf, type EvalTask, meanOf, type PromptsName, type TaskScores } from "../tasks/task.js";
import { taskOfAnswers } from "../tasks/task-file.js";
import { type Prediction, type PredictionHead, type Predictions, readPredictions } from "./predictions.js";
import type { Shown } from "./shown.js";

export interface ShownScores extends TaskScores {
  shown: Shown;
  /** Lines that were scored, in the order of `items` and `parsed`. */
  lines: readonly Prediction[];
  /** Questions without an answer, which do not count. */
  unanswered: number;
  /** Of metrics that are means of answers' own values: the standard error of the mean. */
  standardErrors: Record<string, number>;
}
export interface EvalReport {
  head: PredictionHead;
  task: EvalTask;
  /** Whose rule it was. */
  rule: PromptsName;
  /** With the question's own media first, then the controls. */
  shown: readonly ShownScores[];
}

export interface ScoringOptions {
  /** Whose rule. Default: that of the prompts. */
  prompts?: PromptsName;
  /** Tasks of one's own, of which the predictions may be. */
  tasks?: readonly EvalTask[];
}
const OPTIONS = optionNames<ScoringOptions>({ prompts: true, tasks: true });

/** Scores what answerTask has made, or its predictions.jsonl. Rejects with E_DATA where no question has an answer. */
export async function scorePredictions(predictions: string | Predictions, options: ScoringOptions = {}): Promise<EvalReport> {
  checkOptions("scorePredictions", options, OPTIONS);
  const { tasks = [], prompts } = options;
  const taskOf = (read: PredictionHead) => taskOfAnswers(read, typeof predictions === "string" ? predictions : "predictions", tasks);
  const { head, lines } = typeof predictions === "string" ? await readPredictions(predictions, taskOf) : predictions;
  const task = taskOf(head);
  const rule = prompts ?? (head.prompts as PromptsName);
  const convention = conventionOf(task, rule);
  const shown = head.shown.map((one): ShownScores => {
    const all = lines.filter((line) => line.shown === one);
    const answered = all.filter(({ problem }) => problem === undefined);
    if (!answered.length)
      throw expected("E_DATA", `${task.name}, ${one}`, "at least one answer", `none of ${head.questions}`, "let the evaluation go on");
    const scores = convention.score(answered);
    const unanswered = head.questions - answered.length;
    return { ...scores, shown: one, lines: answered, unanswered, standardErrors: standardErrors(scores) };
  });
  return { head, task, rule, shown };
}

/** Of the mean of n values: their deviation (of n - 1) over the root of n. */
function standardErrors({ metrics, items }: TaskScores): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, values] of Object.entries(items)) {
    if (!(name in metrics) || values.length < 2) continue;
    const mean = meanOf(values);
    const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    found[name] = Math.sqrt(squares / (values.length - 1) / values.length);
  }
  return found;
}
