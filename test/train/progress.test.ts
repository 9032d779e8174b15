import { test } from "uvu";
import * as assert from "uvu/assert";
import { duration, Progress, progressLine } from "../../lib/train/progress.js";
import type { TrainStep } from "../../lib/train/step-report.js";

const step = (n: number, more: Partial<TrainStep> = {}): TrainStep => ({
  step: n,
  steps: 4,
  loss: 1.23456,
  gradNorm: 1,
  learningRate: 1e-3,
  epoch: 1,
  tokens: 10,
  totalTokens: 10,
  scoredTokens: 5,
  tokensPerSecond: 5310.4,
  secondsElapsed: 10,
  secondsLeft: 80,
  memory: { bytesInUse: 1, bytesPeak: 212 * 2 ** 20 },
  skippedRows: 0,
  media: 0,
  mediaKept: 0,
  secondsWaited: 0,
  rowsDigest: "",
  ...more,
});

function written(isTTY: boolean, steps: readonly TrainStep[], every?: number): string {
  let text = "";
  const stream = { write: (piece: string) => (text += piece), isTTY, columns: 60 };
  const progress = new Progress({ stream, label: "align image", ...(every !== undefined && { every }) });
  for (const one of steps) progress.update(one);
  progress.end();
  return text;
}

test("loss, speed, time left and memory in a line", () => {
  assert.is(progressLine(step(2), "align image"), "align image 2/4 · loss 1.235 · 5310 tokens/s · 1 min 20 s left · 212 MiB");
  assert.is(
    progressLine(step(4, { skippedRows: 2, memory: { bytesInUse: 1, bytesPeak: 3 * 2 ** 29 } })),
    "4/4 · loss 1.235 · 5310 tokens/s · 10 s · 1.5 GiB · 2 rows skipped",
  );
  assert.is(duration(7384), "2 h 3 min");
});

test("a terminal has one line that is written over and cut to its width, and ends with a line break", () => {
  const text = written(true, [step(1), step(4)]);
  const lines = text.split("\r\x1b[2K");
  assert.is(lines.length, 3);
  assert.ok(lines.slice(1).every((line) => line.trimEnd().length <= 59));
  assert.is(text.split("\n").length, 2);
  assert.ok(text.endsWith("\n"));
});

test("elsewhere a plain line now and then, the last one in any case", () => {
  const steps = [step(1), step(2), step(3)];
  assert.is(written(false, steps), `${progressLine(steps[0]!, "align image")}\n${progressLine(steps[2]!, "align image")}\n`);
  assert.is(written(false, [...steps, step(4)]).split("\n").length, 3);
  assert.is(written(false, steps, 0).split("\n").length, 4);
  assert.is(written(true, []), "");
});

test.run();
