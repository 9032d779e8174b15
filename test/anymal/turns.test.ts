// No turn of the event loop has much to do while a model is loaded, trained, saved and asked. Counts, not milliseconds: each piece of work is given a
// turn of its own, and a loop that is not in pieces shows up in whichever turn it runs.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL, align, instruct, readCaptions } from "../../lib/index.js";
import { randomCheckpoint } from "../../tools/random-checkpoint/make.js";
import { here } from "../case.js";
import { jsonOf, wordsOf } from "../text/words.js";
import { type Counted, perTurn } from "../turns.js";
import { colors, square, type Toy, toy } from "./toy.js";

const test = suite("turns of a model's life");
const [LAYERS, WORDS, ROWS] = [16, 6000, 600];
let world: Toy;
let folder = "";
test.before(async () => {
  world = await toy();
  folder = mkdtempSync(join(tmpdir(), "anymal-turns-"));
  await randomCheckpoint(folder, { hidden: 32, intermediate: 64, layers: LAYERS, heads: 2, kvHeads: 2, vocabulary: WORDS + 8 });
  const added = ["<s>", "</s>"].map((content, i) => ({ ...special, id: WORDS + i, content }));
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...jsonOf(wordsOf(WORDS)), added_tokens: added }));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify({ bos_token: "<s>", eos_token: "</s>" }));
  // What is done once in a process is not what is asked for here.
  using model = await assemble();
  await model.generateAll([[square("red"), "a"]], { maxNewTokens: 2, temperature: 1 });
});
test.after(() => {
  world.remove();
  rmSync(folder, { recursive: true, force: true });
});

const special = { special: true, single_word: false, lstrip: false, rstrip: false, normalized: false };
const modalities = () => ({ image: { encoder: world.clip, projector: { type: "resampler", layers: 1, tokens: 4 } } }) as const;
const assemble = () => AnyMAL.assemble(world.options({ llm: folder, modalities: modalities() }));

/** Some loops over the vocabulary, or over all rows, are beyond it. */
const BLOCKS = 50_000;
/** What a layer of the decoder takes, forward or when it is made; all of them at once are beyond it where they need not be. */
const CALLS_PER_LAYER = 60;

function few({ most, turns }: Counted<unknown>, what: string, calls: number, blocks = BLOCKS): void {
  assert.ok(turns > 10, `${what}: ${turns} turns`);
  assert.ok(most.calls < calls, `${what}: ${most.calls} calls of the addon in one turn`);
  assert.ok(most.json < 50_000, `${what}: ${most.json} characters of JSON in one turn`);
  assert.ok(most.blocks < blocks, `${what}: ${most.blocks} blocks in one turn, of them ${most.where}`);
}

test("assembled, saved, read again", async () => {
  const loaded = await perTurn(assemble);
  using model = loaded.value;
  few(loaded, "assemble", 3 * CALLS_PER_LAYER);
  model.addAdapter({ r: 2, alpha: 4 });
  few(await perTurn(() => model.save(join(folder, "saved"))), "save", 3 * CALLS_PER_LAYER);
  const again = await perTurn(() => AnyMAL.fromPretrained(join(folder, "saved"), { device: here }));
  again.value.dispose();
  // The adapter's branches are put on at once: a few calls for each.
  few(again, "fromPretrained", LAYERS * CALLS_PER_LAYER, LAYERS * 15_000);
});

test("an adapter takes work in proportion to its layers", async () => {
  using model = await assemble();
  const { most } = await perTurn(async () => model.addAdapter({ r: 2, alpha: 4 }));
  assert.is(model.adapter?.layers.size, 7 * LAYERS);
  // 899 for each; what fell into the same turn on a busy machine took it over 900. Work that grows with their square would be a hundred times as much.
  assert.ok(most.blocks < 1000 * 7 * LAYERS, `${most.blocks} blocks for ${7 * LAYERS} layers, of them ${most.where}`);
});

test("rows are read some at a time", async () => {
  const file = join(folder, "captions.jsonl");
  writeFileSync(file, Array.from({ length: ROWS }, (_, i) => `${JSON.stringify({ image: `${i}.png`, caption: `a b c ${i}` })}\n`).join(""));
  await readCaptions(file, { modality: "image", checkFiles: false });
  const read = await perTurn(() => readCaptions(file, { modality: "image", checkFiles: false }));
  assert.is(read.value.length, ROWS);
  few(read, "readCaptions", 1, 40_000);
});

const rows = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    where: `row ${i}`,
    turns: [
      { role: "user" as const, content: [square(colors[i % colors.length] as never), "which one?"] },
      { role: "assistant" as const, content: ["this one"] },
    ],
  }));

test("both stages of training, with saves", async () => {
  using model = await assemble();
  const common = { batch: 2, microBatch: 1, steps: 1, data: rows(40) };
  const stages = (name: string) => {
    const [first, second] = [1, 2].map((stage) => join(folder, `${name}-${stage}`)) as [string, string];
    return [
      () => align(model, { ...common, modality: "image", output: first }),
      () => instruct(model, { ...common, lora: { r: 2, alpha: 4 }, output: second }),
    ];
  };
  const run = async (steps: AsyncGenerator<unknown>): Promise<number> => {
    let count = 0;
    for await (const _ of steps) ++count;
    return count;
  };
  for (const stage of stages("before")) assert.is(await run(stage()), 1);
  const [first, second] = stages("counted") as [() => AsyncGenerator<unknown>, () => AsyncGenerator<unknown>];
  few(await perTurn(() => run(first())), "align", 3 * CALLS_PER_LAYER);
  // What trains is named, opened and put away at once: a few calls, and some blocks, for each tensor of the branches. On a busy machine a file that was
  // written meanwhile brings the next piece of work into the same turn.
  few(await perTurn(() => run(second())), "instruct", 1.5 * LAYERS * CALLS_PER_LAYER, LAYERS * 6_000);
});

test("many prompts at once, greedy and drawn", async () => {
  using model = await assemble();
  const prompts = Array.from({ length: 12 }, (_, i) => [square(colors[i % colors.length] as never), "abc ".repeat(20)]);
  const greedy = await perTurn(() => model.generateAll(prompts, { maxNewTokens: 2 }));
  assert.is(greedy.value.length, 12);
  // Two pieces may fall between two looks, where one of them begins as an op ends.
  few(greedy, "greedy", 2 * LAYERS * CALLS_PER_LAYER);
  const options = { maxNewTokens: 2, temperature: 0.9, topK: 500, topP: 0.9, minP: 0.001, repetitionPenalty: 1.1 };
  // A cut walks over its buckets, 65 536 however small the vocabulary: a nanosecond each, where a sort of all would count as one block and take longer.
  few(await perTurn(() => model.generateAll(prompts, { ...options, seed: 7 })), "drawn", 2 * LAYERS * CALLS_PER_LAYER, BLOCKS + 6 * 65_536);
});

test.run();
