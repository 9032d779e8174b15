// Judges before and after: what they say no to is never encoded, or never given out; everybody else is answered as before.
import { existsSync, writeFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { Guard, type Refused, type Safety } from "../../lib/anymal/safety.js";
import type { Turn } from "../../lib/data/row.js";
import { mediaOf } from "../../lib/data/row.js";
import { image } from "../../lib/media/image.js";
import { type Labelled, LinearClassifier } from "../../lib/models/linear-classifier.js";
import { run, writeData } from "../cli/program.js";
import { rejection } from "../train/stages.js";
import { type Toy, toy } from "./toy.js";

const test = suite("safety");
let world: Toy;
let model: AnyMAL;
test.before(async () => {
  world = await toy();
  await writeData(world);
  model = await AnyMAL.assemble(world.options());
});
test.after(() => {
  model.dispose();
  world.remove();
});

async function joined(pieces: AsyncIterable<string>): Promise<string[]> {
  const list: string[] = [];
  for await (const piece of pieces) list.push(piece);
  return list;
}
async function* stream(...pieces: string[]): AsyncGenerator<string> {
  yield* pieces;
}
const QUICK = { maxNewTokens: 6 };

test("sentences are judged as they end, with all that was said before them, and given out only then", async () => {
  const seen: string[] = [];
  const guard = (safety: Safety) => new Guard("?", safety, { model });
  const after = (answer: string) => void seen.push(answer);
  assert.equal(await joined(guard({ after }).sentences(stream("A do", 'g "runs." It is 3', ".5 m. And?\n", "So"))), ['A dog "runs." ', "It is 3.5 m. And?\n", "So"]); // biome-ignore format: one line
  assert.equal(seen, ['A dog "runs." ', 'A dog "runs." It is 3.5 m. And?\n', 'A dog "runs." It is 3.5 m. And?\nSo']);
  const refused: Refused[] = [];
  const bad: Safety = { after: (answer) => (answer.includes("gun") ? "weapons" : true), onRefused: (one) => refused.push(one) };
  assert.equal(await joined(guard(bad).sentences(stream("A man. ", "A gun. More."))), ["A man. ", "I cannot help with that."]);
  assert.equal(await joined(guard({ ...bad, refusal: "No." }).sentences(stream("A gun"))), ["No."]);
  assert.equal(refused, [{ at: "answer", index: 0, reason: "weapons" }, { at: "answer", index: 0, reason: "weapons" }]); // biome-ignore format: one line
  // What is refused is not written on.
  let written = 0;
  async function* endless() {
    for (;;) {
      ++written;
      yield "gun. ";
    }
  }
  await joined(guard(bad).sentences(endless()));
  assert.is(written, 1);
});

test("answers are the same with judges that say nothing, streamed and together", async () => {
  const prompts = ["what is it?", [image(world.path("red.png")), "what?"]];
  const plain = await model.generateAll(prompts, QUICK);
  let judged = 0;
  const safety: Safety = { before: () => void ++judged, after: () => void ++judged };
  assert.equal(await model.generateAll(prompts, { ...QUICK, safety }), plain);
  assert.is(judged, 4);
  const alone = (await joined(model.generate(prompts[1]!, QUICK))).join("");
  assert.is((await joined(model.generate(prompts[1]!, { ...QUICK, safety }))).join(""), alone);
});

test("a refused prompt is never encoded; the others of its batch are answered, and named by their own numbers", async () => {
  const missing = [image(world.path("none.png")), "secret"] as const;
  const refused: Refused[] = [];
  const before: Safety["before"] = (turns) => !JSON.stringify(turns).includes("secret");
  const safety: Safety = { before, refusal: "No.", onRefused: (one) => refused.push(one) };
  const [one] = await model.generateAll(["what?"], QUICK);
  assert.equal(await model.generateAll([missing, "what?", "a secret"], { ...QUICK, safety }), ["No.", one, "No."]);
  assert.equal(refused.map(({ at, index }) => [at, index]), [["prompt", 0], ["prompt", 2]]); // biome-ignore format: one line
  assert.equal(await joined(model.generate(missing, { ...QUICK, safety })), ["No."]);
  const long = "what ".repeat(200);
  assert.match((await rejection(() => model.generateAll(["secret", "what?", long], { ...QUICK, safety }))).message, /^prompt 2:/);
  assert.equal(await model.generateAll([], { safety }), []);
});

test("a judge sees the system's turn, media and answers; one that throws ends the call with its own error", async () => {
  const seen: (readonly Turn[])[] = [];
  const after: Safety["after"] = (_, turns, { model: same }) => {
    assert.is(same, model);
    seen.push(turns);
    return false;
  };
  assert.equal(await model.generateAll([[image(world.path("red.png")), "what?"]], { ...QUICK, safety: { after } }), ["I cannot help with that."]); // biome-ignore format: one line
  assert.is(mediaOf({ turns: seen[0]! }).length, 1);
  const safety: Safety = { before: () => Promise.reject(new RangeError("mine")) };
  assert.is((await rejection(() => model.generateAll(["what?"], { safety }))).message, "mine");
  for (const [wrong, word] of [
    [{}, /before, after/],
    [{ before: "no" }, /a function/],
    [{ befor: () => true }, /before/],
    [{ before: () => true, refusal: 3 }, /a text/],
  ] as const)
    assert.match((await rejection(() => model.generateAll(["what?"], { safety: wrong as Safety }))).message, word);
});

test("a small classifier on the encoder's features tells pictures apart, after a file too", async () => {
  const pooled = async (name: string, times: number) => {
    const [features] = await model.features([image(world.path(name))]);
    return Float32Array.from({ length: features!.shape.at(-1)! }, (_, j) => times * features!.data[j]!);
  };
  const rows: Labelled[] = [];
  for (const label of ["red", "blue"]) for (const times of [0.9, 1, 1.1]) rows.push({ vector: await pooled(`${label}.png`, times), label });
  await LinearClassifier.fit(rows).save(world.path("judge.safetensors"));
  const judge = LinearClassifier.load(world.path("judge.safetensors"));
  assert.equal(judge.labels, ["blue", "red"]);
  for (const { vector, label } of rows) assert.ok(judge.probabilities(vector)[label]! > 0.9, label);
  const sum = Object.values(judge.probabilities(rows[0]!.vector)).reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(sum - 1) < 1e-9);
  assert.match((await rejection(async () => judge.probabilities([1]))).message, /vector of \d+/);
  assert.match((await rejection(async () => LinearClassifier.fit(rows.slice(0, 3)))).message, /two labels/);
  assert.match((await rejection(async () => LinearClassifier.load(`${world.clip}/model.safetensors`))).message, /labels/);
});

test("the command takes a module, says what was refused, and names a file that is none", async () => {
  const [good, empty] = [world.path("judge.mjs"), world.path("empty.mjs")];
  writeFileSync(
    good,
    'export const before = (turns) => !JSON.stringify(turns).includes("secret") || "a secret";\nexport const refusal = "No.";',
  );
  writeFileSync(empty, "export const other = 1;");
  const folder = world.path("checked");
  await model.save(folder);
  assert.ok(existsSync(folder));
  const ask = (question: string, file: string) => run(["generate", "--model", folder, question, "--max-new-tokens", "2", "--safety", file]);
  const { code, out, err } = await ask("a secret", good);
  assert.equal([code, out.trim()], [0, "No."]);
  assert.match(err, /refused by --safety: the prompt, a secret/);
  const none = await ask("what?", empty);
  assert.is(none.code, 2);
  assert.match(none.err, /before\(turns\)/);
});

test.run();
