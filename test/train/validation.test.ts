// A training that looks at itself: what it computes is what it computes without, its scores are those of the answers, the best model is kept, an end
// comes where nothing becomes better, and a run that was stopped has seen what an unbroken one has.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { Row } from "../../lib/data/row.js";
import { heldRows } from "../../lib/data/sources/source.js";
import { scoreExact } from "../../lib/eval/exact.js";
import { askedIn } from "../../lib/eval/held-out.js";
import { image } from "../../lib/media/image.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { recipe } from "../../lib/train/recipe.js";
import type { ValidationReport } from "../../lib/train/run-log/reporter.js";
import { someRows } from "../../lib/train/validation/held-rows.js";
import { Judge, type Look } from "../../lib/train/validation/judge.js";
import { metricOf, scoresOf } from "../../lib/train/validation/metric.js";
import type { MetricName } from "../../lib/train/validation/options.js";
import { Validation } from "../../lib/train/validation/validation.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, all, assembledIn, rejection, weights } from "./stages.js";

const test = suite("validation");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const HELD = captions();
const OPTIONS = { ...ALIGN, data: captions(2), steps: 8, saveEvery: 3 } as const;
const VALIDATION = { data: HELD, every: 2, maxNewTokens: 3 } as const;
const looksIn = (run: string): Look[] =>
  readFileSync(join(run, "validation.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
/** Without what depends on the clock. */
const timeless = (looks: readonly Look[]) => looks.map(({ seconds: _, ...look }) => look);

test("what is better is told by the metric; what no training has made, and no number, never is", () => {
  const takes = (metric: "exact" | "loss", scores: number[], patience?: number) => {
    const judge = new Judge(metric, patience);
    return { told: scores.map((score, step) => judge.take({ step, scores: { [metric]: score } })), judge };
  };
  const rising = takes("exact", [9, 0.1, 0.3, 0.3, Number.NaN, 0.2], 3);
  assert.equal(rising.told, [false, true, true, false, false, false]);
  assert.equal(rising.judge.best, { step: 2, score: 0.3 });
  assert.is(rising.judge.enough, true);
  const falling = takes("loss", [0, 5, 4, 6], 3);
  assert.equal(falling.told, [false, true, true, false]);
  assert.is(falling.judge.enough, false);
  assert.is(takes("exact", [0, 0, 0, 0]).judge.enough, false);
  // What became better begins the count anew.
  assert.is(takes("exact", [0, 0.1, 0, 0, 0.2, 0, 0], 3).judge.enough, false);
});

test("answers of one word are told apart by exact alone: what counts runs of words says nothing of them", () => {
  const names = (correct: string[], metric: MetricName) =>
    Object.keys(
      scoresOf(
        correct.map(() => "red"),
        correct,
        metric,
      ),
    );
  assert.equal(names(["red", " blue "], "exact"), ["exact"]);
  assert.equal(names(["red", "blue"], "bleu4"), ["exact", "bleu4"], "what was asked for is told");
  assert.equal(names(["red", "a blue one"], "exact"), ["exact", "ciderD", "rougeL"]);
  assert.equal(names(["a red one here", "blue"], "exact"), ["exact", "ciderD", "bleu4", "rougeL"]);
  const correct = ["a red square in a corner", "a blue one"];
  const all = scoresOf(correct, correct, "exact");
  assert.ok(all.exact === 1 && Math.abs(all.bleu4! - 1) < 1e-6 && all.rougeL === 1 && all.ciderD! > 1, JSON.stringify(all));
  assert.equal(
    [metricOf(["red", "blue"], true), metricOf(["a red one"], true), metricOf(["a red one"], false), metricOf([], true)],
    ["exact", "ciderD", "exact", "exact"],
  );
});

test("a look is due every so often and at the end, and not where the run's folder has one", () => {
  const look: Look = { step: 4, epoch: 1, scores: { exact: 0.5 }, best: true, seconds: 0, answers: [] };
  const of = (before: Look[]) => {
    const looks = { before, show: async () => {}, keepBest: async () => {}, write: async () => {}, tell: async () => {} };
    const recipe = { data: "x", every: 2, rows: 4, metric: "exact", maxNewTokens: 3 } as const;
    return new Validation({ model: {} as never, recipe, held: () => Promise.reject(), epoch: () => 0, looks, close: async () => {} });
  };
  const due = (before: Look[]) => [3, 4, 6, 7].filter((step) => of(before).due({ step, steps: 7 }));
  assert.equal(due([]), [4, 6, 7]);
  assert.equal(due([look]), [6, 7]);
});

test("a look changes nothing of a training, dropout and all, and tells what the model answers then", async () => {
  const options = { ...OPTIONS, lora: { r: 2, dropout: 0.2 }, learningRate: 1e-2 } as const;
  const { modality: _, ...plain } = options;
  using without = await assembledIn(world);
  const losses = (await all(instruct(without, plain))).map(({ loss }) => loss);
  using model = await assembledIn(world);
  const told: ValidationReport[] = [];
  const onValidation = (report: ValidationReport) => told.push(report);
  assert.equal(
    (await all(instruct(model, { ...plain, validation: VALIDATION, onValidation }))).map(({ loss }) => loss),
    losses,
  );
  assert.equal(await weights(model, true), await weights(without, true));
  assert.equal(
    told.map(({ step }) => step),
    [0, 2, 4, 6, 8],
  );
  const asked = HELD.map(askedIn);
  const answers = await model.generateAll(
    asked.map(({ turns }) => turns),
    { maxNewTokens: VALIDATION.maxNewTokens },
  );
  const { exact } = scoreExact(answers.map((answer, i) => ({ answer, correct: asked[i]!.answer })));
  const { scores, epoch } = told.at(-1)!;
  assert.is(scores.exact, exact);
  assert.is(epoch, 4);
});

test("best/ is the model of the best look, checkpoint/ the last one; stopped anywhere and gone on with, both are an unbroken run's", async () => {
  const options = { ...OPTIONS, validation: { ...VALIDATION, metric: "loss" } } as const;
  const whole = world.path("whole");
  using model = await assembledIn(world);
  await all(align(model, { ...options, output: whole }));
  const looks = looksIn(whole);
  const best = looks.filter((look) => look.best).at(-1)!;
  const kept = JSON.parse(readFileSync(join(whole, "best/validation.json"), "utf8"));
  assert.equal(kept, { step: best.step, scores: best.scores });
  using back = await AnyMAL.fromPretrained(join(whole, "best"), { device: here });
  const answers = await back.generateAll(
    HELD.map(askedIn).map(({ turns }) => turns),
    { maxNewTokens: VALIDATION.maxNewTokens },
  );
  assert.equal(answers, best.answers);
  assert.is(looks[0]!.answers.length, HELD.length);
  const [step] = await all(align(back, { ...ALIGN, data: HELD, batch: HELD.length, steps: 1, learningRate: 0 })); // learns nothing
  assert.ok(Math.abs(step!.loss - best.scores.loss!) < 1e-5 * step!.loss, `${step!.loss} ${best.scores.loss}`);

  const output = world.path("broken");
  for (const stop of [1, 2, 3, 5, Infinity]) {
    using again = await assembledIn(world);
    const controller = new AbortController();
    const onValidation = ({ step }: ValidationReport) => step === stop + 1 && controller.abort(); // in a look, or behind it
    for await (const { step } of align(again, { ...options, output, resume: true, signal: controller.signal, onValidation }))
      if (step >= stop) controller.abort();
  }
  assert.equal(timeless(looksIn(output)), timeless(looks));
  for (const file of ["best/projectors/image.safetensors", "best/validation.json", "checkpoint/projectors/image.safetensors"])
    assert.equal(readFileSync(join(output, file)), readFileSync(join(whole, file)), file);
});

test("what becomes no better ends; more patience goes on as if nothing had been", async () => {
  // Longer than any caption: never right to the letter.
  const validation = { ...VALIDATION, maxNewTokens: 1, metric: "exact", every: 1 } as const;
  const never = HELD.map(
    ({ where, turns }): Row => ({ where, turns: [turns[0]!, { role: "assistant", content: ["no such color at all"] }] }),
  );
  const options = { ...OPTIONS, output: world.path("early") } as const;
  using model = await assembledIn(world);
  const steps = await all(align(model, { ...options, validation: { ...validation, data: never, patience: 2 } }));
  assert.is(steps.length, 3); // the first is the best there is
  assert.is(JSON.parse(readFileSync(join(options.output, "checkpoint/trainer_state.json"), "utf8")).step, 3);
  using again = await assembledIn(world);
  const resumed = { ...options, resume: true } as const;
  assert.equal(await all(align(again, { ...resumed, validation: { ...validation, data: never, patience: 2 } })), []);
  const rest = await all(align(again, { ...resumed, validation: { ...validation, data: never, patience: 100 } }));
  assert.is(rest.at(-1)!.step, OPTIONS.steps);
  using plain = await assembledIn(world);
  await all(align(plain, OPTIONS));
  assert.equal(await weights(again), await weights(plain));
});

test("rows that cannot be asked are named, or left out; the same rows are asked of any data", async () => {
  const [first, second] = HELD as [Row, Row];
  const open: Row = { where: "held:1", turns: first.turns.slice(0, 1) };
  const lost: Row = { where: "held:2", turns: [{ role: "user", content: ["see ", image(world.path("nothing.png"))] }, second.turns[1]!] };
  for (const [bad, message] of [
    [open, /held:1.*answer/],
    [lost, /held:2.*nothing\.png/],
  ] as const) {
    using model = await assembledIn(world);
    const validation = { ...VALIDATION, data: [bad, ...HELD] };
    const error = await rejection(() => all(align(model, { ...OPTIONS, steps: 2, validation })));
    assert.match(error.message, message);
    const problems: string[] = [];
    const told: ValidationReport[] = [];
    const options = { ...OPTIONS, steps: 2, validation, onBadRow: "skip" } as const;
    await all(
      align(model, { ...options, onProblem: ({ message }) => problems.push(message), onValidation: (report) => told.push(report) }),
    );
    assert.is(problems.length, 1);
    assert.match(problems[0]!, message);
    assert.is(told.length, 2);
  }
  const many = heldRows(captions(10));
  const asked = await someRows(many, { rows: 4, onBadRow: "throw" });
  assert.equal(
    asked.map(({ where }) => where),
    [6, 16, 26, 36].map((n) => `captions:${n}`),
  );
});

test("a recipe says it, and is checked; another's folder is not taken", async () => {
  const own = { steps: 30, batch: 2, learningRate: 1e-3, validation: { data: "held.jsonl" } };
  assert.equal(recipe({ align: { image: own } }).align.image!.validation, {
    ...{ every: 3, rows: 64, maxNewTokens: 32, data: "held.jsonl" },
  });
  for (const [validation, message] of [
    [{ data: "a", metric: "bleu" }, /instruct\.validation\.metric to be one of exact/],
    [{ data: "a", patiance: 2 }, /instruct\.validation\.patiance.*did you mean "patience"/],
    [{ every: 2 }, /instruct\.validation\.data to be files/],
  ] as const)
    assert.throws(() => recipe({ instruct: { ...own, validation } }), message);

  const output = world.path("told");
  using model = await assembledIn(world);
  await all(align(model, { ...OPTIONS, steps: 1, output, validation: VALIDATION }));
  assert.not.match(readFileSync(join(output, "recipe.yaml"), "utf8"), /held|captions:/);
  writeFileSync(world.path("best"), "mine");
  const error = await rejection(() => all(align(model, { ...OPTIONS, steps: 1, output: world.folder, validation: VALIDATION })));
  assert.match(error.message, /best.*something else/);
  assert.ok(existsSync(world.path("best")));
});

test.run();
