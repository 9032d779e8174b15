// Steps that went wrong: told with their rows before a weight changes, or left out as if they had not been.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { noGrad, record } from "../../lib/core/autograd.js";
import { AnymalError } from "../../lib/core/errors.js";
import { Tensor } from "../../lib/core/tensor.js";
import { copy, mul, sum } from "../../lib/ops/index.js";
import { type AlignOptions, align } from "../../lib/train/align.js";
import { type Guard, problemOf } from "../../lib/train/diverged.js";
import type { StepReport } from "../../lib/train/step-report.js";
import type { Trainee } from "../../lib/train/trainee.js";
import { train } from "../../lib/train/trainer.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { here } from "../case.js";
import { ALIGN, assembledIn, rejection, weights } from "./stages.js";

const test = suite("diverged");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

/** One weight, whose loss is factor · w². */
async function trained(factors: readonly number[], guard?: Guard): Promise<{ w: number[]; reports: StepReport[]; error?: AnymalError }> {
  using w = Tensor.from(Float32Array.of(1, -2), [2], { device: here });
  w.requiresGrad = true;
  const trainee: Trainee<number> = {
    parameters: [["w", w]],
    losses: (factor) => [() => sum(mul(mul(w, w), Tensor.full([2], factor, { device: here })))],
    items: () => 1,
    names: (factor) => [`row of ${factor}`, ...Array.from({ length: 9 }, (_, i) => `row ${i}`)],
    training: () => undefined,
  };
  const reports: StepReport[] = [];
  const windows = { next: (step: number) => factors[step] as number };
  const options = { steps: factors.length, learningRate: 0.1, maxGradNorm: 1, ...(guard && { guard }) };
  try {
    for await (const report of train(trainee, windows, options)) reports.push(report);
  } catch (error) {
    assert.ok(error instanceof AnymalError);
    return { w: [...(await w.data())], reports, error: error as AnymalError };
  }
  return { w: [...(await w.data())], reports };
}

test("what is wrong with a step: its loss, its gradient, or a norm beyond the limit and no other", () => {
  const said = (loss: number, norm: number, guard: Guard = {}) => problemOf(loss, norm, 3, ["a", "b"], guard)?.message;
  assert.match(said(Number.NaN, 1)!, /a finite loss, got NaN at step 3, whose rows are a, b;/);
  assert.match(said(1, Infinity)!, /a finite norm of the gradient, got Infinity at step 3/);
  assert.match(said(1, 2.1, { normLimit: 2 })!, /a gradient whose norm is at most 2, got 2\.1 at step 3/);
  for (const [norm, guard] of [
    [2, { normLimit: 2 }],
    [1e30, {}],
  ] as const)
    assert.is(said(1, norm, guard), undefined);
});

test("a step that is left out is as if it had not been, and is told with its rows", async () => {
  const without = await trained([1, 2, 3, 5]);
  for (const [bad, guard] of [
    [Number.NaN, { onDiverged: "skip" }],
    [Infinity, { onDiverged: "skip" }],
    [1000, { onDiverged: "skip", normLimit: 100 }],
  ] as const) {
    const problems: AnymalError[] = [];
    const { w, reports } = await trained([1, 2, bad, 3, 5], { ...guard, onSkip: (problem) => problems.push(problem) });
    assert.equal(w, without.w, `${bad}`);
    assert.equal(
      reports.map(({ skipped = false }) => skipped),
      [false, false, true, false, false],
    );
    assert.is(problems.length, 1);
    assert.is(problems[0]!.code, "E_DIVERGED");
    assert.ok(problems[0]!.message.includes(`at step 3, whose rows are row of ${bad}, row 0, `), problems[0]!.message);
    assert.match(problems[0]!.message, /row 6 and 2 more;/);
  }
});

test("one that ends the run does so before a weight has changed, where a limit is set; else a step late", async () => {
  const before = await trained([1, 2]);
  const { w, error, reports } = await trained([1, 2, 1000, 3], { normLimit: 100 });
  assert.equal(w, before.w);
  assert.match(error!.message, /a gradient whose norm is at most 100, got \d+.* at step 3, whose rows are row of 1000/);
  assert.is(reports.length, 1); // the second was under way
  const late = await trained([1, 2, Number.NaN, 3]);
  assert.match(late.error!.message, /finite loss, got NaN at step 3, whose rows are row of NaN/);
});

test("a stage names its rows, and goes on after a stop over a step that it left out", async () => {
  // Gradients of one color have no number.
  const poisoned = async (options: Partial<AlignOptions>, stop = Infinity) => {
    using model = await assembledIn(world);
    const projector = model.projector("image");
    const forward = projector.forward.bind(projector);
    let steps = (options as { from?: number }).from ?? 0;
    const { from: _, ...rest } = options as AlignOptions & { from?: number };
    projector.forward = (x) => {
      const y = forward(x);
      if (!y.requiresGrad || ++steps !== 3) return y;
      const { shape } = y;
      const nothing = () => [Tensor.full(shape, Number.NaN, { device: here })];
      return record(
        noGrad(() => copy(y)),
        [y],
        () => nothing,
      );
    };
    const data = captions(2);
    for await (const { step } of align(model, { ...rest, ...ALIGN, batch: 3, microBatch: 3, data, steps: 6 })) if (step === stop) break;
    return weights(model);
  };
  const error = await rejection(() => poisoned({}));
  assert.is(error.code, "E_DIVERGED");
  assert.match(
    error.message,
    /norm of the gradient.* at step 3, whose rows are captions:\d+, captions:\d+, captions:\d+; .*onDiverged: "skip"/,
  );
  const problems: string[] = [];
  const onProblem = ({ message }: AnymalError) => problems.push(message);
  const whole = await poisoned({ onDiverged: "skip", onProblem });
  assert.is(problems.length, 1);
  const options = { onDiverged: "skip", onProblem, output: world.path("run") } as const;
  await poisoned(options, 3); // saved at 4: the step under way is finished
  const again = { ...options, resume: true, from: 4 } as Partial<AlignOptions>;
  assert.equal(await poisoned(again), whole);
  assert.is(problems.length, 2);
});

test.run();
