// A stage as a command runs it: steps as JSON or as a progress line, problems of rows by name, a stop that can be taken up again.
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { AnymalError } from "../core/errors.js";
import { FeatureCache } from "../data/feature-cache.js";
import { LAYOUTS, type LayoutName } from "../data/layouts.js";
import { duration, Progress } from "../train/progress.js";
import { readState } from "../train/run-folder.js";
import type { ValidationReport } from "../train/run-log/reporter.js";
import type { TrainStep } from "../train/step-report.js";
import { describeError, type Interrupt, Interrupted, print, printJson, tell } from "./output.js";
import type { TrainingFlags } from "./training-flags.js";
import type { Stage } from "./training-job.js";

export const STOPPING = "finishing the step and saving; Ctrl-C again ends at once";

export interface Sitting {
  stage: Stage;
  /** Undefined where a stage trains several at once. */
  modality?: string;
  /** The run's folder. */
  output: string;
}

export const cacheOf = ({ cache }: TrainingFlags): FeatureCache =>
  new FeatureCache({ memoryBytes: 2 ** 30, ...(cache && { folder: cache }) });

export const tellProblem = (problem: AnymalError): void => tellAbove(`left out: ${describeError(problem)}`);

/** Above the progress line, which is written over. */
function tellAbove(line: string): void {
  if (process.stderr.isTTY) process.stderr.write("\r\x1b[2K");
  tell(line);
}

/** A look at the rows that are held out. */
export const tellValidation =
  (json = false) =>
  ({ step, scores, ...report }: ValidationReport): void => {
    if (json) printJson({ type: "validation", step, scores, ...report });
    else
      tellAbove(
        `held out, after step ${step}: ${Object.entries(scores)
          .map(([name, score]) => `${name} ${score.toPrecision(3)}`)
          .join(", ")}`,
      );
  };

/** Which layout a file was found to have. */
export const tellLayout = (path: string, layout: LayoutName): void =>
  tell(`${path}: ${layout === "captions" ? "captions of media" : LAYOUTS[layout].about} (${layout})`);

/** Shows every step; throws Interrupted when the run was stopped before its end. */
export async function show(steps: AsyncIterable<TrainStep>, sitting: Sitting, interrupt: Interrupt, json: boolean): Promise<void> {
  const { stage, modality, output } = sitting;
  const named = { stage, ...(modality && { modality }) };
  const progress = json ? undefined : new Progress({ label: [stage, modality].filter(Boolean).join(" ") });
  let last: TrainStep | undefined;
  try {
    for await (const step of steps) {
      last = step;
      if (json) printJson({ type: "step", ...named, ...step });
      progress?.update(step);
    }
  } finally {
    progress?.end();
  }
  const step = await savedStep(output);
  const stopped = interrupt.signal.aborted && !(last && step === last.steps);
  const { steps: total, loss, secondsElapsed: seconds, skippedRows } = last ?? {};
  if (json) printJson({ type: "result", ...named, output, step, steps: total, loss, seconds, skippedRows, stopped });
  if (stopped) {
    tell(step === undefined ? "stopped before anything was saved" : `stopped at step ${step}, saved in ${join(output, "checkpoint")}`);
    tell(`go on with: ${again(step !== undefined)}`);
    throw new Interrupted("interrupted");
  }
  if (json) return;
  const done = last ? `${last.steps} steps in ${duration(last.secondsElapsed)}, loss ${last.loss.toPrecision(4)}` : "was done before";
  print(`${[stage, modality].filter(Boolean).join(" ")}: ${done}; model in ${output}`);
}

async function savedStep(output: string): Promise<number | undefined> {
  const checkpoint = join(output, "checkpoint");
  return existsSync(join(checkpoint, "trainer_state.json")) ? (await readState(checkpoint)).step : undefined;
}

/** The command line that goes on. */
function again(saved: boolean): string {
  const words = process.argv.slice(2).map((word) => (/^[\w./:=,@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`));
  if (saved && !words.includes("--resume")) words.push("--resume");
  return ["anymal", ...words].join(" ");
}
