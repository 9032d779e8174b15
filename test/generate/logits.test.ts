// Logits processors against transformers', alone and chained, and what the sampler draws from them.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { processorsFor, type SamplingOptions, softmax, topP } from "../../lib/generate/logits.js";
import { Sampler, uniform } from "../../lib/generate/sampler.js";
import { Case, caseNames, largest, near } from "../case.js";
import { random } from "../harness.js";

/** The reference's names of the options. */
const OPTIONS: Record<string, keyof SamplingOptions> = {
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  repetition_penalty: "repetitionPenalty",
  no_repeat_ngram: "noRepeatNgramSize",
};

for (const name of caseNames(/^sampling$/)) {
  const c = new Case(name);
  const ids = c.rows("in.input_ids");
  const width = c.shape("in.logits")[1]!;
  const logits = c.values("in.logits") as Float32Array;
  for (const [pipeline, steps] of Object.entries(c.info.pipelines as Record<string, [string, number][]>)) {
    test(`${name}: ${pipeline}`, () => {
      const options = Object.fromEntries(steps.map(([step, value]) => [OPTIONS[step] ?? assert.unreachable(step), value]));
      const processors = processorsFor(options);
      const got = logits.slice();
      for (const [b, row] of ids.entries()) for (const process of processors) process(got.subarray(b * width, (b + 1) * width), row);
      const want = c.values(`out.${pipeline}.logits`);
      assert.equal(Array.from(got, Number.isFinite), Array.from(want, Number.isFinite), "which tokens are removed");
      const finite = (values: ArrayLike<number>) => Array.from(values, (v) => (Number.isFinite(v) ? v : 0));
      near(finite(got), finite(want), 2e-6 * largest(finite(want)), pipeline); // a division or two in f32
      const probabilities = ids.flatMap((_, b) => [...softmax(got.subarray(b * width, (b + 1) * width))]);
      near(probabilities, c.values(`out.${pipeline}.probs`), c.atol(`out.${pipeline}.probs`), `${pipeline}, probabilities`);
    });
  }
}

test("the nucleus among equal logits: the first of them go first, as in a stable sort", () => {
  const next = random(3);
  let removed = 0;
  for (let round = 0; round < 300; ++round) {
    const logits = Float32Array.from({ length: 40 }, () => (next() > 0.8 ? -Infinity : Math.round(3 * next())));
    const p = (next() + 1) / 2;
    const most = Math.max(...logits);
    const weights = Array.from(logits, (v) => Math.exp(v - most));
    const total = weights.reduce((a, b) => a + b);
    const want = logits.slice();
    let sum = 0;
    for (const i of [...logits.keys()].sort((a, b) => (logits[a] as number) - (logits[b] as number)).slice(0, -1)) {
      sum += (weights[i] as number) / total;
      if (sum > 1 - p) break;
      want[i] = -Infinity;
    }
    topP(p)(logits, []);
    assert.equal(logits, want);
    removed += want.filter((v) => v === -Infinity).length;
  }
  assert.ok(removed > 1000, `${removed} removed`);
});

test("a draw over a large vocabulary comes in pieces, and is the same draw", () => {
  const options = { temperature: 0.9, topK: 500, topP: 0.9, minP: 0.01, repetitionPenalty: 1.1, seed: 5 };
  const logits = () => Float32Array.from({ length: 30_000 }, (_, i) => Math.sin(i * i));
  const pieces = new Sampler(options).pieces(logits(), [1, 2, 3], 0, 0);
  let [count, step] = [0, pieces.next()];
  for (; !step.done; step = pieces.next()) ++count;
  assert.ok(count >= 5, `${count} pieces`);
  assert.is(step.value, new Sampler(options).next(logits(), [1, 2, 3], 0, 0));
});

test("draws follow the distribution and the seed", () => {
  const weights = [0.5, 0.25, 0.125, 0.125];
  const logits = () => Float32Array.from([...weights.map(Math.log), -Infinity]);
  const sampler = new Sampler({ temperature: 1, seed: 3 });
  const draws = 20_000;
  const counts = [0, 0, 0, 0, 0];
  for (let step = 0; step < draws; ++step) counts[sampler.next(logits(), [], 0, step)]!++;
  for (const [token, p] of [...weights, 0].entries())
    assert.ok(
      Math.abs(counts[token]! / draws - p) <= 5 * Math.sqrt((p * (1 - p)) / draws),
      `token ${token}: ${counts[token]} of ${draws}, expected ${p}`,
    );
  const run = (seed: number) => Array.from({ length: 50 }, (_, step) => new Sampler({ temperature: 1, seed }).next(logits(), [], 0, step));
  assert.equal(run(7), run(7));
  assert.not.equal(run(7), run(8));
  const u = Array.from({ length: 10_000 }, (_, step) => uniform(1, 0, step));
  assert.ok(Math.abs(u.reduce((a, b) => a + b) / u.length - 0.5) < 0.015 && u.every((v) => v >= 0 && v < 1));
});

test("options out of range say which and why", () => {
  const bad: SamplingOptions[] = [
    { temperature: -1 },
    { topK: 0 },
    { topK: 1.5 },
    { topP: 0 },
    { topP: 1.1 },
    { minP: 2 },
    { repetitionPenalty: 0 },
    { noRepeatNgramSize: -1 },
  ];
  for (const options of bad) {
    const [option] = Object.keys(options);
    assert.throws(
      () => processorsFor(options),
      (e: Error & { code: string }) => e.code === "E_GENERATION" && e.message.includes(option!),
    );
  }
});

test.run();
