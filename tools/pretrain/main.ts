// `npm run demo:pretrain`: everything in models/tiny from nothing, on this machine: a tokenizer and a LLaMA from the world's texts, a CLIP, a CLAP and
// an IMU2CLIP from its scenes. Each is saved in bf16, read back, and measured as the demo will use it; a gate that is missed fails the run.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Draw } from "../../lib/data/draw.js";
import { type Device, device, LlamaForCausalLM } from "../../lib/index.js";
import { saveModel } from "../../lib/io/model-folder.js";
import { type ClapAudioModel, melStatistics } from "../../lib/models/clap-audio.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { contrastive } from "../../lib/train/contrastive.js";
import { language } from "../../lib/train/language.js";
import type { StepReport } from "../../lib/train/step-report.js";
import { type Scores, writeCard } from "./card.js";
import { encoderBatch, prefetched, zeroShot } from "./encoders.js";
import { freshLlama, GROUP, languageBatches, llamaConfig, makeTokenizer, readingAccuracy, WordEncoder } from "./language.js";
import { ENCODERS, type EncoderRecipe, GATES, LANGUAGE } from "./recipes.js";

const NAMES = ["llama", ...ENCODERS.map(({ name }) => name)];
const { values } = parseArgs({
  options: {
    output: { type: "string", default: fileURLToPath(new URL("../../models/tiny", import.meta.url)) },
    only: { type: "string", multiple: true, default: NAMES },
    seed: { type: "string", default: "1" },
    steps: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (values.help || values.only.some((name) => !NAMES.includes(name))) {
  console.log(`npm run demo:pretrain -- [--output FOLDER] [--only ${NAMES.join("|")}]… [--seed N] [--steps N, for a trial]`);
  process.exit(values.help ? 0 : 1);
}

const cpu = device("cpu");
const wholeSeed = Number(values.seed);
const stepsOf = (recipe: { steps: number }) => (values.steps ? Number(values.steps) : recipe.steps);

const told = (scores: ReadonlyMap<string, number>) => [...scores].map(([kind, share]) => `${kind} ${share.toFixed(2)}`).join(", ");

/** Prints a line now and then, and every thousand steps what `judge` says. */
async function report(name: string, steps: AsyncIterable<StepReport>, judge: () => Promise<ReadonlyMap<string, number>>): Promise<number> {
  const start = performance.now();
  let [total, count] = [0, 0];
  for await (const { step, steps: all, loss, learningRate } of steps) {
    total += loss;
    if (++count < 100 && step < all) continue;
    const seconds = (performance.now() - start) / 1000;
    const left = (seconds / step) * (all - step);
    console.log(
      `${name} ${step}/${all}  loss ${(total / count).toFixed(4)}  lr ${learningRate.toExponential(1)}  ${left.toFixed(0)} s left`,
    );
    [total, count] = [0, 0];
    if (step % 1000 === 0) console.log(`  ${told(await judge())}`);
  }
  return (performance.now() - start) / 1000;
}

async function pretrainLanguage(folder: string): Promise<Scores> {
  const words = new WordEncoder(makeTokenizer(folder));
  const { batch, learningRate, phases } = LANGUAGE;
  const steps = stepsOf(LANGUAGE);
  const seed = wholeSeed;
  const model = freshLlama(cpu, words.size, seed);
  let rows = languageBatches(seed, 0, batch, words, phases[0]!);
  const next = (step: number) => {
    const phase = phases.find(({ until }) => step < until)!;
    if (step % GROUP === 0) rows = languageBatches(seed, step / GROUP, batch, words, phase);
    return rows[step % GROUP]!;
  };
  const seconds = await report("llama", language(model, { steps, learningRate, batch: next }), () =>
    readingAccuracy(model, words, new Draw(seed, "glance"), 60),
  );
  await saveModel(folder, model, llamaConfig(words.size), { dtype: "bf16" });
  model.dispose();
  return { name: "llama", steps, seconds, gate: GATES.language, scores: await readBack(folder, words) };
}

/** In NF4, as the demo holds it. */
async function readBack(folder: string, words: WordEncoder): Promise<Record<string, Record<string, number>>> {
  const frozen = LlamaForCausalLM.fromPretrained(folder, { device: cpu, dtype: "f32", quantization: { format: "nf4" } });
  const accuracy = await readingAccuracy(frozen, words, new Draw(wholeSeed, "reading"), 400);
  frozen.dispose();
  return { "text only, NF4": Object.fromEntries(accuracy) };
}

async function pretrainEncoder(recipe: EncoderRecipe, folder: string, words: WordEncoder, to: Device): Promise<Scores> {
  const { name, modality, batch, learningRate, weightDecay, schedule, temperature, things, preprocessor, processor } = recipe;
  const steps = stepsOf(recipe);
  const seed = wholeSeed;
  const towers = recipe.fresh(to, words.size, seed);
  if (towers.encoder.kind === "clap-audio") {
    const { media } = await encoderBatch(modality, 128, new Draw(seed, "statistics"), processor, words);
    const { mean, variance } = melStatistics([media.data], media.shape.at(-1) as number);
    (towers.encoder as ClapAudioModel).setInputStatistics(mean, variance);
  }
  if (temperature !== undefined) {
    towers.logitScale.write([Math.log(1 / temperature)]);
    towers.logitScale.requiresGrad = false;
  }
  const next = prefetched((step) => encoderBatch(modality, batch, new Draw(seed, `${name} ${step}`), processor, words, things?.(step)));
  towers.encoder.train();
  const seconds = await report(
    name,
    contrastive({ ...towers, steps, learningRate, weightDecay, ...(schedule && { schedule }), batch: next }),
    async () => {
      towers.encoder.train(false);
      const shares = await zeroShot(modality, 120, "only", towers, processor, words);
      towers.encoder.train();
      return shares;
    },
  );
  await towers.save(folder);
  towers.dispose();
  writeFileSync(join(folder, "preprocessor_config.json"), `${JSON.stringify(preprocessor, null, 2)}\n`);
  const read = recipe.load(folder, to);
  const scores: Scores["scores"] = {};
  for (const [label, held] of [
    ["held-out combinations", "only"],
    ["seen combinations", "never"],
  ] as const)
    scores[label] = Object.fromEntries(await zeroShot(modality, 400, held, read, processor, words));
  read.dispose();
  return { name, steps, seconds, gate: GATES.encoder, scores };
}

const results: Scores[] = [];
const llama = join(values.output, "llama");
mkdirSync(values.output, { recursive: true });
if (values.only.includes("llama")) results.push(await pretrainLanguage(llama));
const words = new WordEncoder(Tokenizer.fromPretrained(llama));
for (const recipe of ENCODERS.filter(({ name }) => values.only.includes(name)))
  results.push(await pretrainEncoder(recipe, join(values.output, recipe.name), words, cpu));

const missed = writeCard(values.output, results);
for (const { name, scores } of results) console.log(name, JSON.stringify(scores, null, 1));
if (missed.length) {
  console.error(`gates missed: ${missed.join("; ")}`);
  process.exitCode = 1;
}
