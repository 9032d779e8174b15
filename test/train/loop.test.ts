// One loop for every training: its weights are those of a loop by hand, bit for bit, and it keeps what it promises to who is trained.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { calibrate } from "../../lib/anymal/calibrate.js";
import { batchOf } from "../../lib/anymal/prompt.js";
import { backward } from "../../lib/core/autograd.js";
import { setRandomState } from "../../lib/core/random.js";
import { scope } from "../../lib/core/scope.js";
import { FeatureCache } from "../../lib/data/feature-cache.js";
import { heldRows } from "../../lib/data/sources/source.js";
import { LlamaForCausalLM, Tensor } from "../../lib/index.js";
import { openBridge } from "../../lib/models/bridges/kind.js";
import { ClipModel } from "../../lib/models/clip.js";
import { contrastiveLoss, l2Normalize, mul, sum } from "../../lib/ops/index.js";
import { contrastive } from "../../lib/train/contrastive.js";
import { FeatureSource } from "../../lib/train/feature-source.js";
import { instruct } from "../../lib/train/instruct.js";
import { language, type TextRow } from "../../lib/train/language.js";
import { AdamW, decayMatricesOnly } from "../../lib/train/optimizer.js";
import { PromptRows } from "../../lib/train/prompt-rows.js";
import { cosine } from "../../lib/train/schedule.js";
import type { StepReport } from "../../lib/train/step-report.js";
import type { Keeper, RunNumbers, Stateful, Trainee } from "../../lib/train/trainee.js";
import { type TrainOptions, train } from "../../lib/train/trainer.js";
import { TrainingRows } from "../../lib/train/training-rows.js";
import { captions, type Toy, toy } from "../anymal/toy.js";
import { caseFolder, here } from "../case.js";
import { all, assembledIn, rejection, weights } from "./stages.js";

const test = suite("one loop");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

type Named = Iterable<readonly [string, Tensor]>;
async function bytesOf(parameters: Named): Promise<Map<string, Uint8Array>> {
  return new Map(await Promise.all([...parameters].map(async ([name, p]) => [name, new Uint8Array(await p.bytes())] as const)));
}

/** The loop of a training from nothing as one would write it down. */
async function byHand(parameters: Named, steps: number, rate: number, lossOf: (step: number) => Tensor): Promise<number[][]> {
  using optimizer = new AdamW(decayMatricesOnly(parameters, 0.01), { betas: [0.9, 0.98], maxGradNorm: 1 });
  const factor = cosine({ totalSteps: steps, warmupSteps: Math.ceil(steps / 20), floor: 0.05 });
  const told: number[][] = [];
  for (let step = 0; step < steps; ++step) {
    using loss = lossOf(step);
    backward(loss);
    using norm = optimizer.step(rate * factor(step));
    optimizer.zeroGrad();
    told.push([step + 1, await loss.item(), await norm.item(), rate * factor(step)]);
  }
  return told;
}
async function told(steps: AsyncIterable<StepReport>): Promise<number[][]> {
  const list: number[][] = [];
  for await (const { step, loss, gradNorm, learningRate } of steps) list.push([step, loss, gradNorm, learningRate]);
  return list;
}
const [STEPS, RATE] = [6, 1e-3];

test("language modelling is the loop by hand, bit for bit", async () => {
  const rows = (step: number): TextRow[] => [{ ids: [1, 2, 3 + step, 4] }, { ids: [1, 5, 3, 4 + step] }];
  const open = () => LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here, trainable: true });
  using one = open();
  using other = open();
  const start = await bytesOf(one.namedParameters());
  const got = await told(language(one, { batch: rows, steps: STEPS, learningRate: RATE }));
  const want = await byHand([...other.namedParameters()], STEPS, RATE, (step) => {
    const inputIds = rows(step).map(({ ids }) => [...ids]);
    return other.forward({ inputIds, attentionMask: inputIds.map((ids) => ids.map(() => 1)) }, { labels: inputIds, logits: false }).loss!;
  });
  assert.equal(got, want);
  const now = await bytesOf(one.namedParameters());
  assert.equal(now, await bytesOf(other.namedParameters()));
  assert.ok([...now].every(([name, bytes]) => String(bytes) !== String(start.get(name))));
});

test("a language model that is frozen in parts trains the rest", async () => {
  using llm = LlamaForCausalLM.fromPretrained(caseFolder("llama2"), { device: here });
  llm.model.norm.requiresGrad(true);
  const before = await bytesOf(llm.namedParameters());
  await told(language(llm, { batch: () => [{ ids: [1, 2, 3] }], steps: 2, learningRate: RATE }));
  const after = await bytesOf(llm.namedParameters());
  const moved = [...after].filter(([name, bytes]) => String(bytes) !== String(before.get(name))).map(([name]) => name);
  assert.equal(moved, ["model.norm.weight"]);
});

test("contrastive training is the loop by hand, bit for bit", async () => {
  const open = () => ClipModel.fromPretrained(caseFolder("clip-pair"), { device: here, trainable: true });
  using one = open();
  using other = open();
  const size = one.config.vision.imageSize;
  const data = (step: number) => Float32Array.from({ length: 2 * 3 * size * size }, (_, i) => Math.sin(i * (step + 1)));
  const shape = [2, 3, size, size];
  const ids = [1, 2].map((first) => [first, first + 1, one.config.text.eosTokenId]);
  const towers = { encoder: one.vision, text: one.text, logitScale: one.logitScale };
  const batch = (step: number) => ({ media: { data: data(step), shape }, captions: ids });
  const got = await told(contrastive({ ...towers, batch, steps: STEPS, learningRate: RATE }));
  const named = [
    ...other.vision.namedParameters("media"),
    ...other.text.namedParameters("text"),
    ["logit_scale", other.logitScale] as const,
  ];
  const want = await byHand(named, STEPS, RATE, (step) =>
    scope(() => {
      const a = other.vision.forward(Tensor.from(data(step), shape, { device: here }));
      return contrastiveLoss(l2Normalize(a.embeds), l2Normalize(other.text.forward(ids).embeds), other.logitScale.reshape([1]));
    }),
  );
  assert.equal(got, want);
  assert.equal(await bytesOf(one.namedParameters()), await bytesOf(other.namedParameters()));
});

test("stage 2 is the loop by hand, bit for bit: micro-batches, dropout, 8-bit moments", async () => {
  const recipe = { batch: 4, microBatch: 3, learningRate: RATE, warmupSteps: 0, schedule: "constant", seed: 9 } as const;
  const lora = { r: 4, alpha: 8, dropout: 0.3, targetModules: "all-linear" } as const;
  using one = await assembledIn(world);
  using other = await assembledIn(world);
  const got = await all(instruct(one, { ...recipe, data: captions(2), lora, steps: 4, optimizer: "adamw8bit" }));

  const adapter = other.addAdapter(lora, { seed: recipe.seed });
  const reader = new PromptRows(other, { maxLength: other.llm.config.maxPositions });
  const source = new FeatureSource(other, new FeatureCache({ memoryBytes: 2 ** 20 }));
  const rows = new TrainingRows(reader, heldRows(captions(2)), source, { ...recipe, onBadRow: "throw" });
  await calibrate(other, "image", await rows.sample("image", 256));
  openBridge(other.projector("image"), true);
  const parameters = [...other.projector("image").namedParameters("projectors.image"), ...adapter.namedParameters()].filter(
    ([, p]) => p.requiresGrad,
  );
  using optimizer = new AdamW(decayMatricesOnly(parameters, 0.01), { maxGradNorm: 1, moments: "8bit" });
  for (const layer of adapter.layers.values()) layer.training = true;
  const want: number[][] = [];
  for (let step = 0; step < 4; ++step) {
    const ready = (await rows.finish(rows.begin())).ready.toSorted((a, b) => a.length - b.length);
    const windowTokens = ready.reduce((n, { scored }) => n + scored, 0);
    let total = 0;
    for (const [k, from] of [0, 3].entries()) {
      const some = ready.slice(from, from + 3);
      setRandomState({ seed: recipe.seed, offset: step * 2 ** 32 + k * 2 ** 16 });
      using loss = scope(() => {
        const features = some.map(({ features: own }) => own);
        return other.network.forward(batchOf(some, features, here), { windowTokens }).loss!;
      });
      backward(loss);
      total += await loss.item();
    }
    using norm = optimizer.step(RATE);
    optimizer.zeroGrad();
    want.push([step + 1, total, await norm.item(), RATE]);
  }
  assert.equal(
    got.map(({ step, loss, gradNorm, learningRate }) => [step, loss, gradNorm, learningRate]),
    want,
  );
  assert.equal(await weights(one, true), await weights(other, true));
});

/** One number that is drawn to 3. */
function one(at = 0): Trainee<number> & { w: Tensor; on: boolean } {
  const w = Tensor.from([at], [1], { device: here, requiresGrad: true });
  const trainee = {
    ...{ w, on: false, parameters: [["w", w]] as const },
    losses: (window: number) => [
      () => {
        assert.ok(trainee.on, "a loss is made with the switches on");
        const off = Tensor.from([window], [1], { device: here });
        return sum(mul(mul(w, off), mul(w, off)));
      },
    ],
    items: (window: number) => window,
    training: (on: boolean) => {
      assert.is.not(trainee.on, on);
      trainee.on = on;
    },
  };
  return trainee;
}
const FAST: TrainOptions<number> = { steps: 4, learningRate: 0.1 };
const ones = { next: () => 1 };

test("gradients are ready once a step, after all micro-batches and before the update", async () => {
  const trainee = one(2);
  const { w } = trainee;
  const twice = { ...trainee, losses: (window: number) => [...trainee.losses(window, 0), ...trainee.losses(window, 0)] };
  const seen: number[][] = [];
  const gradientsReady = async (step: number) => {
    assert.not(trainee.on, "off between the pieces");
    seen.push([step, await w.item(), await w.grad!.item()]);
  };
  await told(train(twice, ones, { ...FAST, gradientsReady }));
  assert.is(seen.length, 4);
  for (const [i, [step, value, grad]] of seen.entries()) {
    assert.is(step, i);
    assert.is(grad, Math.fround(4 * value!)); // d/dw of 2·w²
  }
  assert.is(seen[0]![1], 2);
  w.dispose();
});

test("each part of a run is saved with it and restored to where it was", async () => {
  const made: { step: number; numbers: object; tensors: string[] }[] = [];
  const logged: number[] = [];
  const part: Stateful = {
    name: "mine",
    tensors: () => new Map(),
    numbers: () => ({ batches: 7 }),
    restore: (_, numbers) => void restored.push(numbers),
  };
  const restored: RunNumbers[] = [];
  const keeper = (from: number): Keeper<StepReport> => ({
    secondsBefore: 100,
    resume: async (parts) => {
      assert.equal(
        parts.map(({ name }) => name),
        ["optimizer", "mine"],
      );
      if (from) parts[1]!.restore(new Map(), { step: from, updates: from, batches: 7 });
      return from;
    },
    save: async (step, parts, seconds) => {
      assert.ok(seconds >= 100);
      const numbers = Object.assign({}, ...parts.map((each) => each.numbers()));
      made.push({ step, numbers, tensors: parts.flatMap((each) => [...each.tensors().keys()]) });
    },
    log: async ({ step }) => void logged.push(step),
  });
  const trainee = one(2);
  const options = { ...FAST, state: [part], saveEvery: 3, logEvery: 2 };
  await told(train(trainee, ones, { ...options, keeper: keeper(0) }));
  assert.equal(
    made.map(({ step, numbers }) => [step, numbers]),
    [
      [3, { updates: 3, batches: 7 }],
      [4, { updates: 4, batches: 7 }],
    ],
  );
  assert.equal(made[0]!.tensors, ["w.exp_avg", "w.exp_avg_sq"]);
  assert.equal(logged, [2, 4]);
  assert.equal(restored, []);
  const steps = await told(train(trainee, ones, { ...options, keeper: keeper(2) }));
  assert.equal(
    steps.map(([step]) => step),
    [3, 4],
  );
  assert.is(restored[0]!.batches, 7);
  trainee.w.dispose();
});

test("a window that is late, windows that end, and one that fails: nothing goes on behind the loop's back", async () => {
  const trainee = one(2);
  const ended: string[] = [];
  const windows = (fail: number) => ({
    next: async (step: number) => {
      if (step === fail) throw new Error("no window");
      return 1;
    },
    end: async () => void ended.push("end"),
  });
  assert.is((await rejection(() => told(train(trainee, windows(2), FAST)))).message, "no window");
  for await (const { step } of train(trainee, windows(9), FAST)) if (step === 2) break;
  await told(train(trainee, windows(9), FAST));
  assert.equal(ended, ["end", "end", "end"]);
  assert.is(trainee.w.grad, undefined);
  assert.not(trainee.on);
  trainee.w.dispose();
});

test("who has nothing to train is told", async () => {
  const trainee = { ...one(), parameters: [] };
  const error = await rejection(() => told(train(trainee, ones, FAST)));
  assert.is(error.code, "E_ARGUMENT");
  assert.match(error.message, /train: expected a parameter to train, got none; open one/);
});

test.run();
