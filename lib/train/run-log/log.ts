// log.jsonl: all that a step tells, to the bit; replay compares with it. trainer_log.jsonl: the same under the names of LLaMA-Factory's, which its
// users' scripts read.
import type { TrainStep } from "../step-report.js";
import { JsonLines } from "./json-lines.js";
import type { Reporter, ValidationReport } from "./reporter.js";

export const LOG = "log.jsonl";
export const TRAINER_LOG = "trainer_log.jsonl";

export function log(folder: string): Reporter {
  const lines = new JsonLines(folder, LOG, "step");
  return { begin: (step) => lines.keepTo(step), step: (report) => lines.append(logLine(report)) };
}

const logLine = (s: TrainStep) => ({
  step: s.step,
  total_steps: s.steps,
  epoch: s.epoch,
  loss: s.loss,
  learning_rate: s.learningRate,
  grad_norm: s.gradNorm,
  ...(s.skipped && { skipped: true }),
  tokens: s.tokens,
  scored_tokens: s.scoredTokens,
  tokens_per_second: s.tokensPerSecond,
  elapsed_time: s.secondsElapsed,
  remaining_time: s.secondsLeft,
  bytes_in_use: s.memory.bytesInUse,
  bytes_peak: s.memory.bytesPeak,
  data_wait: s.secondsWaited,
  rows: s.rowsDigest,
  ...(s.media && { media: s.media, feature_hit_rate: s.mediaKept / s.media }),
});

export function trainerLog(folder: string): Reporter {
  const lines = new JsonLines(folder, TRAINER_LOG, "current_steps");
  return {
    begin: (step) => lines.keepTo(step),
    step: (report) => {
      const { loss, learningRate, tokensPerSecond, totalTokens } = report;
      const throughput = Math.round(100 * tokensPerSecond) / 100;
      return lines.append({ ...placeOf(report, { loss, learning_rate: learningRate }), throughput, total_tokens: totalTokens });
    },
    evaluated: (report) =>
      lines.append(placeOf(report, Object.fromEntries(Object.entries(report.scores).map(([name, score]) => [`eval_${name}`, score])))),
  };
}

const placeOf = ({ step, steps, epoch, secondsElapsed, secondsLeft }: TrainStep | ValidationReport, values: object) => ({
  current_steps: step,
  total_steps: steps,
  ...values,
  epoch,
  percentage: Math.round((10_000 * step) / steps) / 100,
  elapsed_time: clockTime(secondsElapsed),
  remaining_time: clockTime(secondsLeft),
});

/** As Python writes a timedelta of whole seconds: "0:01:20", "1 day, 2:03:04". */
export function clockTime(seconds: number): string {
  const all = Math.max(0, Math.floor(seconds));
  const days = Math.floor(all / 86_400);
  const two = (n: number) => String(n % 60).padStart(2, "0");
  const time = `${Math.floor(all / 3600) % 24}:${two(Math.floor(all / 60))}:${two(all)}`;
  return days ? `${days} day${days > 1 ? "s" : ""}, ${time}` : time;
}
