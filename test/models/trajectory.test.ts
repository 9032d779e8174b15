// A miniature AnyMAL trained for ten steps per stage: losses, gradient norms, first gradients and final weights, through the
// loop that every training goes through; what is frozen stays so.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import type { Tensor } from "../../lib/core/tensor.js";
import { type AnyMALBatch, AnyMALNetwork, type MediaReference } from "../../lib/models/anymal.js";
import { ResamplerProjector } from "../../lib/models/bridges/resampler.js";
import { countTargets } from "../../lib/models/language-loss.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import type { Module } from "../../lib/nn/module.js";
import { Weights } from "../../lib/nn/weights.js";
import type { TextPart } from "../../lib/text/splice.js";
import { cosine } from "../../lib/train/schedule.js";
import type { Trainee } from "../../lib/train/trainee.js";
import { train } from "../../lib/train/trainer.js";
import { Case, caseNames, here, largest } from "../case.js";

type Named = Map<string, Tensor>;

/** Runs of the placeholder are one item each; the rest is text, whose labels are those of the file. */
function rowsOf(c: Case, at: string, placeholder: number): (TextPart | MediaReference)[][] {
  const ids = c.rows(`${at}.input_ids`);
  const mask = c.rows(`${at}.attention_mask`);
  const labels = c.rows(`${at}.labels`);
  let item = 0;
  return ids.map((row, b) => {
    const parts: (TextPart | MediaReference)[] = [];
    const length = mask[b]!.reduce((n, bit) => n + bit, 0);
    for (let t = 0; t < length; ) {
      let end = t;
      while (end < length && (row[end] === placeholder) === (row[t] === placeholder)) ++end;
      if (row[t] === placeholder) parts.push({ modality: "image", item: item++ });
      else parts.push({ ids: row.slice(t, end), labels: labels[b]!.slice(t, end) });
      t = end;
    }
    return parts;
  });
}

interface Setup {
  c: Case;
  model: AnyMALNetwork;
  projector: ResamplerProjector;
  adapter: LoraAdapter | undefined;
  named: Named;
}

function setup(name: string): Setup {
  const c = new Case(name);
  const llm = LlamaForCausalLM.fromPretrained(c.base, { device: here });
  const {
    dim,
    depth,
    dim_head,
    heads,
    num_latents,
    max_num_frames = 0,
    max_num_media = 0,
    ff_mult = 4,
  } = c.info.generator_config.resampler;
  const config = {
    form: "openflamingo",
    dim,
    depth,
    dimHead: dim_head,
    heads,
    latents: num_latents,
    frames: max_num_frames,
    media: max_num_media,
    ffMult: ff_mult,
  } as const;
  const projector = new ResamplerProjector(Weights.fresh({ device: here }), config, llm.config.hiddenSize);
  const model = new AnyMALNetwork(llm, { image: projector });
  restore(projector, c, "stage1.init.projection.");
  return { c, model, projector, adapter: undefined, named: new Map(projector.namedParameters("projection")) };
}

function restore(module: Module, c: Case, prefix: string, strict = true): void {
  const state = new Map(c.names(prefix).map((name) => [name.slice(prefix.length), c.tensor(name)]));
  module.loadState(state, { strict });
  for (const tensor of state.values()) tensor.dispose();
}

/** Steps of a stage as the case has them, through the loop of every training. */
async function trainAsCase({ c, model, named }: Setup, stage: "stage1" | "stage2"): Promise<void> {
  const o = c.info.generator_config.optimizer;
  const { losses, grad_norms, learning_rates } = c.info[stage];
  const micro = o.accumulate ?? 1;
  const at = (step: number, k: number) => `${stage}.step${step}${micro > 1 ? `.micro${k}` : ""}`;
  const lossOf = (name: string) => {
    using features = c.tensor(`${name}.features`);
    const batch: AnyMALBatch = { rows: rowsOf(c, name, c.info.placeholder_id), features: { image: features } };
    // The reference averages the means of its micro-batches.
    const windowTokens = micro * countTargets(c.rows(`${name}.labels`));
    return model.forward(batch, { windowTokens }).loss!;
  };
  const trainee: Trainee<number> = {
    parameters: named,
    losses: (step) => Array.from({ length: micro }, (_, k) => () => lossOf(at(step, k))),
    items: () => 1,
    training: (on) => void model.train(on),
  };
  const options = {
    ...{ steps: losses.length, learningRate: o.lr, betas: o.betas, eps: o.eps, weightDecay: o.weight_decay, maxGradNorm: o.clip },
    schedule: cosine({ warmupSteps: o.warmup, totalSteps: c.info.generator_config.steps }),
    groups: (parameters: Iterable<readonly [string, Tensor]>) => [{ parameters }],
    gradientsReady: async (step: number) => {
      if (step === 0) for (const [name, p] of named) await c.close(`${stage}.step0_grad.${name}`, p.grad!);
    },
  };
  let made = 0;
  for await (const { step, loss, gradNorm, learningRate } of train(trainee, { next: (step) => step }, options)) {
    assert.is(step, ++made);
    const [rate, want, norm] = [learning_rates, losses, grad_norms].map((all) => all[step - 1]) as [number, number, number];
    const where = `${stage} step ${step - 1}`;
    assert.ok(Math.abs(learningRate - rate) <= 1e-12, `${where}: rate ${learningRate}, want ${rate}`);
    assert.ok(Math.abs(loss - want) <= 1e-4 * want, `${where}: loss ${loss}, want ${want}`);
    assert.ok(Math.abs(gradNorm - norm) <= 1e-3 * norm, `${where}: gradient norm ${gradNorm}, want ${norm}`);
  }
  assert.is(made, losses.length);
  for (const [name, p] of named) await c.close(`${stage}.final.${name}`, p, { atol: 3 * c.atol(`${stage}.final.${name}`) });
  assert.equal(
    [...named.keys()].sort(),
    c.names(`${stage}.final.`).map((name) => name.slice(`${stage}.final.`.length)),
  );
}

async function bytesOf(model: AnyMALNetwork, trained: Named): Promise<Map<string, Float32Array>> {
  const own = new Set(trained.values());
  const frozen = new Map<string, Float32Array>();
  for (const [name, p] of model.llm.namedParameters()) if (!own.has(p)) frozen.set(name, (await p.data()) as Float32Array);
  return frozen;
}

for (const name of caseNames(/^trajectory/)) {
  for (const checkpointing of [false, true]) {
    test(`${name}: both stages${checkpointing ? ", layers recomputed" : ""}`, async () => {
      const s = setup(name);
      s.model.llm.gradientCheckpointing = checkpointing;
      const frozen = await bytesOf(s.model, s.named);
      await trainAsCase(s, "stage1");
      const { r, alpha, target_modules } = s.c.info.generator_config.lora;
      const adapter = LoraAdapter.apply(s.model.llm, { r, alpha, ...(target_modules && { targetModules: target_modules }) });
      const own = new Map([...adapter.namedParameters()].map(([key, p]) => [key.replace("base_model.model.", "lora."), p]));
      s.named = new Map([...s.named, ...own]);
      for (const [key, p] of own) assert.equal(p.shape, s.c.shape(`stage2.init.${key}`));
      restore(s.model.llm, s.c, "stage2.init.lora.", false);
      // The reference's own end of stage 1, which ours was just found equal to: rounding must not add up over the stages.
      restore(s.projector, s.c, "stage2.init.projection.");
      s.named = new Map([
        ...s.projector.namedParameters("projection"),
        ...[...adapter.namedParameters()].map(([key, p]) => [key.replace("base_model.model.", "lora."), p] as const),
      ]);
      await trainAsCase(s, "stage2");
      const after = await bytesOf(s.model, s.named);
      assert.equal([...after.keys()], [...frozen.keys()]);
      for (const [key, values] of frozen) assert.equal(after.get(key), values, `${key} is frozen and moved`);
      s.model.dispose();
    });
  }
}

test("a hundred training steps leave no bytes behind, and the same seed gives the same bits", async () => {
  const [name] = caseNames(/^trajectory/) as [string];
  const run = async () => {
    const { c, model, named } = setup(name);
    const at = "stage1.step0" + (c.has("stage1.step0.features") ? "" : ".micro0");
    using features = c.tensor(`${at}.features`);
    const batch = { rows: rowsOf(c, at, c.info.placeholder_id), features: { image: features } };
    const trainee: Trainee<number> = {
      parameters: named,
      losses: () => [() => model.forward(batch).loss!],
      items: () => 1,
      training: () => undefined,
    };
    let baseline = 0;
    // One step is on its way while another is reported: what both hold is the same from the second on.
    for await (const { step } of train(trainee, { next: (step) => step }, { steps: 102, learningRate: 1e-3, maxGradNorm: 1 })) {
      await here.synchronize();
      if (step === 2) baseline = here.memory().bytesInUse;
      if (step > 2 && step < 102) assert.is(here.memory().bytesInUse, baseline, `bytes in use after step ${step}`);
    }
    const weights = await Promise.all([...named.values()].map((p) => p.data()));
    model.dispose();
    return weights;
  };
  const [first, second] = [await run(), await run()];
  assert.equal(first, second);
  assert.ok(first.every((w) => largest(w) < Infinity));
});

test.run();
