// Who writes down what a run tells: one value for each form.
import type { TrainStep } from "../step-report.js";

/** What a look at the model between two steps has found, as lines and curves show it. */
export interface ValidationReport {
  step: number;
  steps: number;
  /** Passes over the rows so far. */
  epoch: number;
  /** By name: loss, exact, ciderD … */
  scores: Readonly<Record<string, number>>;
  /** What the look took. */
  seconds: number;
  secondsElapsed: number;
  secondsLeft: number;
}

export interface Reporter {
  /** Before the first step of a sitting. What an earlier one has told of steps after `step` is made, and told, again; 0: a new run. */
  begin(step: number): Promise<void>;
  step(report: TrainStep): Promise<void>;
  evaluated?(report: ValidationReport): Promise<void>;
  /** A sitting that was begun is over, however it ended. */
  end?(): Promise<void>;
}
