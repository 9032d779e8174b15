// What a run tells beside its own log: the lines that LLaMA-Factory's users read, and TensorBoard's files, over a stop and a new sitting.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { align } from "../../../lib/train/align.js";
import { maskedCrc32c } from "../../../lib/train/run-log/crc32c.js";
import type { TrainStep } from "../../../lib/train/step-report.js";
import { captions, type Toy, toy } from "../../anymal/toy.js";
import { ALIGN, all, assembledIn, RUN_FILES, rejection } from "../stages.js";

const test = suite("run log");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const OPTIONS = { ...ALIGN, data: captions(2), saveEvery: 3, steps: 8 } as const;
const linesOf = (path: string) =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** One field of a protocol buffer after the other: its number, and its value. */
function* fields(bytes: Buffer): Generator<[number, number | Buffer]> {
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (; bytes[at]! & 128; factor *= 128) value += (bytes[at++]! & 127) * factor;
    return value + bytes[at++]! * factor;
  };
  while (at < bytes.length) {
    const key = varint();
    const type = key & 7;
    const length = type === 0 ? 0 : type === 1 ? 8 : type === 5 ? 4 : varint();
    const value = type === 0 ? varint() : bytes.subarray(at, at + length);
    at += length;
    yield [key >> 3, type === 1 ? (value as Buffer).readDoubleLE() : type === 5 ? (value as Buffer).readFloatLE() : value];
  }
}

interface Event {
  step: number;
  scalars: Record<string, number>;
  restart: boolean;
}
function eventsOf(path: string): Event[] {
  const bytes = readFileSync(path);
  const events: Event[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    const data = bytes.subarray(at + 12, at + 12 + length);
    assert.is(bytes.readUInt32LE(at + 8), maskedCrc32c(bytes.subarray(at, at + 8)));
    assert.is(bytes.readUInt32LE(at + 12 + length), maskedCrc32c(data));
    at += 16 + length;
    const event: Event = { step: 0, scalars: {}, restart: false };
    for (const [field, value] of fields(data)) {
      if (field === 2) event.step = value as number;
      if (field === 7) event.restart = true;
      for (const [, one] of field === 5 ? fields(value as Buffer) : []) {
        const { 1: tag, 2: scalar } = Object.fromEntries(fields(one as Buffer));
        if (scalar !== undefined) event.scalars[String(tag)] = scalar as number;
      }
    }
    events.push(event);
  }
  return events;
}

/** A run that was stopped after step 4 and gone on with. */
async function broken(output: string): Promise<TrainStep[]> {
  const told = new Map<number, TrainStep>();
  {
    using model = await assembledIn(world);
    const controller = new AbortController();
    for await (const step of align(model, { ...OPTIONS, reportTo: "tensorboard", output, signal: controller.signal })) {
      told.set(step.step, step);
      if (step.step === 4) controller.abort();
    }
  }
  using again = await assembledIn(world);
  for (const step of await all(align(again, { ...OPTIONS, reportTo: ["tensorboard"], output, resume: true }))) told.set(step.step, step);
  return [...told.values()].sort((a, b) => a.step - b.step);
}

test("trainer_log.jsonl has LLaMA-Factory's names, one line a step, over a stop", async () => {
  const output = world.path("lines");
  await broken(output);
  const lines = linesOf(join(output, "trainer_log.jsonl"));
  const own = linesOf(join(output, "log.jsonl"));
  assert.equal(
    lines.map(({ current_steps }) => current_steps),
    own.map(({ step }) => step),
  );
  assert.is(lines.length, OPTIONS.steps);
  let total = 0;
  for (const [i, line] of lines.entries()) {
    assert.equal(Object.keys(line), [
      ...["current_steps", "total_steps", "loss", "learning_rate", "epoch", "percentage", "elapsed_time", "remaining_time"],
      ...["throughput", "total_tokens"],
    ]);
    total += own[i].tokens;
    assert.equal([line.loss, line.total_tokens, line.total_steps], [own[i].loss, total, OPTIONS.steps]);
    assert.is(line.percentage, (100 * (i + 1)) / OPTIONS.steps);
    for (const time of [line.elapsed_time, line.remaining_time]) assert.match(time, /^\d+:\d\d:\d\d$/);
  }
});

test("TensorBoard's files hold the tags of transformers' Trainer; a sitting that goes on says from where", async () => {
  const output = world.path("events");
  const told = await broken(output);
  const [folder, ...others] = readdirSync(join(output, "runs"));
  assert.equal(others, []);
  assert.match(folder!, /^[A-Z][a-z]{2}\d\d_\d\d-\d\d-\d\d_./);
  const files = readdirSync(join(output, "runs", folder!)).sort();
  assert.is(files.length, 2);
  const [first, second] = files.map((file) => eventsOf(join(output, "runs", folder!, file)));
  const from = second!.find(({ restart }) => restart)!.step;
  assert.is(
    first!.some(({ restart }) => restart),
    false,
  );
  assert.is(second!.find(({ scalars }) => "train/loss" in scalars)!.step, from);
  const seen = [...first!.filter(({ step }) => step < from), ...second!].filter(({ scalars }) => "train/loss" in scalars);
  assert.equal(
    seen.map(({ step }) => step),
    told.map(({ step }) => step),
  );
  for (const [i, { scalars }] of seen.entries()) {
    const { loss, gradNorm, learningRate, epoch, totalTokens } = told[i]!;
    for (const [tag, value] of Object.entries({
      loss,
      grad_norm: gradNorm,
      learning_rate: learningRate,
      epoch,
      num_input_tokens_seen: totalTokens,
    }))
      assert.is(scalars[`train/${tag}`], Math.fround(value), tag);
  }
  assert.ok(seen.at(-1)!.scalars["train/train_runtime"]! > 0);
});

test("what is not asked for is not written, and what nobody knows is refused", async () => {
  const output = world.path("none");
  using model = await assembledIn(world);
  await all(align(model, { ...OPTIONS, reportTo: "none", steps: 1, output }));
  assert.equal(readdirSync(output).sort(), RUN_FILES);
  const error = await rejection(() => all(align(model, { ...OPTIONS, reportTo: "wandb" as "all" })));
  assert.is(error.code, "E_RECIPE");
  assert.match(error.message, /align\.reportTo to be one of tensorboard, .*got "wandb"/);
});

test.run();
