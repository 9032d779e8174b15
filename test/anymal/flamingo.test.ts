// Flamingo from end to end: assembled, aligned, taught, saved, loaded and asked; <image> stands behind its picture, and <|endofchunk|> ends an answer.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { endTokens } from "../../lib/anymal/end-tokens.js";
import { encodePrompt } from "../../lib/anymal/prompt.js";
import type { Turn } from "../../lib/data/row.js";
import { generate } from "../../lib/generate/generate.js";
import { noGrad } from "../../lib/index.js";
import { align } from "../../lib/train/align.js";
import { instruct } from "../../lib/train/instruct.js";
import { here } from "../case.js";
import { all } from "../train/stages.js";
import { captions, square, type Toy, toy, withoutTemplate } from "./toy.js";

const test = suite("Flamingo");
let world: Toy;
test.before(async () => {
  world = await toy();
  withoutTemplate(world.llm, world.path("plain")); // as the models that Flamingo was built on
});
test.after(() => world.remove());

const assembled = () =>
  AnyMAL.assemble({
    ...{ llm: world.path("plain"), device: here, system: "flamingo", quantization: "none" },
    modalities: { image: { encoder: world.clip } },
    adapters: { "gated-cross-attention": { every: 1, heads: 2, dimHead: 4 } },
  });
const [IMAGE, END] = ["<image>", "<|endofchunk|>"];

test("a picture stands before its token, which no text spells twice; chunks follow each other and end with theirs", async () => {
  using model = await assembled();
  const { tokenizer } = model;
  const [mark, end] = [IMAGE, END].map((token) => tokenizer.specialTokens.get(token)) as [number, number];
  const rows = model.llm.config.vocabSize;
  const read = (content: Turn["content"], more: readonly Turn[] = [], generation = true) =>
    encodePrompt(tokenizer, [{ role: "user", content }, ...more], { ...model.prompt, generation, rows }).parts;
  const flat = (content: Turn["content"]) =>
    read(content).flatMap((part): (number | string)[] => ("ids" in part ? [...Array.from(part.ids)] : ["picture"]));
  const one = flat(["see ", square("red"), "which"]);
  assert.is(one[one.indexOf("picture") + 1], mark);
  assert.is(one.filter((id) => id === mark).length, 1);
  assert.equal(flat(["see ", square("red"), `${IMAGE}which`]).filter((id) => id === mark).length, 1, "written by hand");
  const two = flat([square("red"), square("blue"), "which"]);
  assert.equal(
    two.filter((id) => id === mark || id === "picture"),
    ["picture", mark, "picture", mark],
  );
  assert.not.ok(tokenizer.hasChatTemplate);
  // An example, and the question behind it.
  const answer: Turn = { role: "assistant", content: ["red"] };
  const parts = read([square("red"), "which"], [answer, { role: "user", content: [square("blue"), "which"] }]);
  const ids = parts.flatMap((part) => ("ids" in part ? [...Array.from(part.ids)] : []));
  assert.equal([ids.filter((id) => id === end).length, ids.filter((id) => id === tokenizer.bosTokenId).length], [1, 1]);
  const taught = read([square("red"), "which"], [answer], false);
  const labels = taught.flatMap((part) => ("labels" in part && part.labels ? [...Array.from(part.labels)] : []));
  assert.is(labels.filter((id) => id >= 0).at(-1), end);
  assert.not.ok(labels.includes(mark));
});

test("aligned, taught, saved, loaded: it answers the same, and stops at the end of a chunk", async () => {
  using model = await assembled();
  const common = { data: captions(), steps: 2, batch: 4, warmupSteps: 0, learningRate: 1e-2, schedule: "constant" } as const;
  assert.is((await all(align(model, { ...common, modality: "image" }))).length, 2);
  const output = world.path("flamingo-run");
  assert.is((await all(instruct(model, { ...common, output }))).length, 2);
  for (const [name, p] of model.adapters.get("gated-cross-attention")!.namedParameters())
    if (name.endsWith("_gate"))
      assert.ok(
        ((await p.data()) as Float32Array).every((v) => v !== 0),
        `${name} is shut`,
      );
  const prompts = [["see ", square("red")], ["see ", square("blue"), square("red")], "see "];
  const ask = (one: AnyMAL) => one.generateAll(prompts, { maxNewTokens: 6 });
  const want = await ask(model);
  using again = await AnyMAL.fromPretrained(output, { device: here });
  assert.equal([again.system, again.addedTokens, again.prompt.written], ["flamingo", [END, IMAGE], { id: IMAGE, end: END }]);
  assert.equal(await ask(again), want);
  // With a head that would say the end of a chunk first, nothing comes behind it.
  const head = again.llm.headWeight;
  const [V, C] = head.shape as [number, number];
  const end = again.tokenizer.specialTokens.get(END)!;
  again.adapters.get("tokens")!.detach();
  const data = (await head.data()) as Float32Array;
  using states = noGrad(() => again.llm.forward({ inputIds: [[1, 5]] }).logits!);
  const first = ((await states.data()) as Float32Array).slice(-V);
  const best = first.indexOf(Math.max(...first));
  head.write(data.map((v, i) => (Math.floor(i / C) === end ? 8 * data[best * C + (i % C)]! : v)));
  const saying = (eosTokenId: number[]) => generate(again.llm, { inputIds: [[1, 5]] }, { maxNewTokens: 4, eosTokenId });
  const [ids] = await saying([]);
  assert.equal([ids![0], ids!.length], [end, 4]);
  const ends = endTokens(again.llmSource.folder, again.llm.config.eosTokenIds, again.tokenizer, again.prompt.written!.end);
  assert.equal(await saying(ends), [[]]);
});

test.run();
