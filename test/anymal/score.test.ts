// Answers scored behind prompts with media: LLaVA's against transformers' logits, the toy world's against the model's own words; single tokens; what is refused.
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { PromptInput } from "../../lib/anymal/prompt.js";
import { image } from "../../lib/media/image.js";
import { Case, here, near } from "../case.js";
import { shake, square, type Toy, toy } from "./toy.js";

const test = suite("scores of answers");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

/** Logarithms of the probabilities of `ids`, which stand from `at` on in a row of logits (T,V). */
function logProbsOf(logits: ArrayLike<number>, width: number, ids: readonly number[], at: number): number[] {
  return ids.map((id, t) => {
    const from = (at + t - 1) * width;
    const row = Array.from({ length: width }, (_, v) => logits[from + v] as number);
    const most = Math.max(...row);
    return (row[id] as number) - most - Math.log(row.reduce((sum, v) => sum + Math.exp(v - most), 0));
  });
}

test("answers about pictures have transformers' tokens and log-probabilities, with their end and without", async () => {
  const c = new Case("llava");
  using model = await AnyMAL.fromPretrained(c.folder, { device: here });
  const pictures = (c.info.images as string[]).map((file) => image(join(c.folder, file)));
  const asked = c.info.prompts as { text: string; images: number[]; answer: string; answer_ids: number[] }[];
  const prompts = asked.map(({ text, images }): PromptInput => {
    const question = text.replace(/^USER: (<image>\n)*/, "").replace(/ ASSISTANT:$/, "");
    return [...images.map((i) => pictures[i]!), question];
  });
  const [, length, width] = c.shape("out.logits") as [number, number, number];
  const logits = c.values("out.logits");
  const labels = c.rows("in.labels");
  const want = asked.map(({ answer_ids: ids }, b) => {
    const at = labels[b]!.findIndex((label) => label !== -100);
    return logProbsOf(logits.subarray(b * length * width, (b + 1) * length * width), width, ids, at);
  });
  const lists = asked.map(({ answer }) => [answer, `${answer} Or not.`]);
  for (const end of [true, false]) {
    const scores = await model.scoreAnswers(prompts, lists, { end });
    for (const [b, [score]] of scores.entries()) {
      const count = asked[b]!.answer_ids.length - (end ? 0 : 1);
      assert.is(score!.text, asked[b]!.answer);
      assert.equal(score!.tokens, asked[b]!.answer_ids.slice(0, count));
      near(score!.logProbs, want[b]!.slice(0, count), 4 * c.atol("out.logits"), `prompt ${b}`);
    }
  }
});

const ANSWERS = ["red", "a blue one", "no"];
const PROMPTS = (): PromptInput[] => [
  "hello",
  ["what is it? ", square("red")],
  [square("blue"), " and ", shake(3), ": which one?"],
  [
    { role: "user", content: ["one ", square("red")] },
    { role: "assistant", content: ["yes"] },
    { role: "user", content: ["more?"] },
  ],
];

test("prompts are scored together as alone; what the model writes itself is greedy, and the loss of training is their mean", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  const all = await model.scoreAnswers(PROMPTS(), ANSWERS);
  for (const [i, prompt] of PROMPTS().entries()) {
    const [alone] = await model.scoreAnswers([prompt], [ANSWERS]);
    assert.equal(
      alone!.map(({ tokens }) => tokens),
      all[i]!.map(({ tokens }) => tokens),
    );
    for (const [n, one] of alone!.entries()) near(one.logProbs, all[i]![n]!.logProbs, 2e-5, `prompt ${i}, answer ${n}`);
  }
  assert.equal(await model.scoreAnswers(PROMPTS(), ANSWERS, { batch: 4 }), all);
  const ended = await model.scoreAnswers(PROMPTS(), ANSWERS, { end: true });
  for (const [i, own] of all.entries())
    for (const [n, { tokens }] of own.entries()) assert.equal(ended[i]![n]!.tokens, [...tokens, model.tokenizer.eosTokenId]);
  const prompt = PROMPTS()[1]!;
  const [first] = await model.nextLogProbs(
    [prompt],
    ANSWERS.map((_, n) => all[1]![n]!.tokens[0]!),
  );
  near(
    first!,
    all[1]!.map(({ logProbs }) => logProbs[0]!),
    2e-5,
    "first tokens",
  );
  let best: number | undefined;
  const every = Array.from({ length: model.llm.config.vocabSize }, (_, id) => id);
  const [whole] = await model.nextLogProbs([prompt], every);
  near([whole!.reduce((sum, v) => sum + Math.exp(v), 0)], [1], 1e-5, "all tokens together");
  for await (const _ of model.generate(prompt, { maxNewTokens: 1, eosTokenId: [], onTokens: ([token]) => (best ??= token) }));
  assert.is(whole!.indexOf(Math.max(...whole!)), best);
});

test("a text that is one token may stand for its id; one of several is refused with its tokens", async () => {
  using model = await AnyMAL.assemble(world.options({ quantization: "none" }));
  const prompts = PROMPTS().slice(1, 3);
  const scores = await model.scoreAnswers(prompts, ANSWERS);
  const single = ANSWERS.findIndex((_, n) => scores[0]![n]!.tokens.length === 1);
  const several = ANSWERS.findIndex((_, n) => scores[0]![n]!.tokens.length > 1);
  if (single >= 0)
    assert.equal(
      await model.nextLogProbs(prompts, [ANSWERS[single]!]),
      await model.nextLogProbs(prompts, [scores[0]![single]!.tokens[0]!]),
    );
  const refused = async (run: () => Promise<unknown>, code: string, said: RegExp) => {
    const error = await run().then(
      () => assert.unreachable(String(said)),
      (error: { code?: string; message: string }) => error,
    );
    assert.is((error as { code?: string }).code, code);
    assert.match((error as Error).message, said);
  };
  await refused(() => model.nextLogProbs(prompts, [ANSWERS[several]!]), "E_GENERATION", /texts of one token each.*scoreAnswers/);
  await refused(() => model.scoreAnswers(prompts, [["a"]]), "E_GENERATION", /one for each of the 2 prompts/);
  await refused(() => model.scoreAnswers(prompts, ["a", 3] as never), "E_GENERATION", /a list of texts/);
  await refused(() => model.scoreAnswers(prompts, [""]), "E_PROMPT", /text in the assistant's turn/);
  const long = ["hello", "hello", "hello ".repeat(200)];
  await refused(() => model.scoreAnswers(long, ["a"], { batch: 2 }), "E_PROMPT", /^prompt 2:/);
  await refused(() => model.scoreAnswers(prompts, ["a"], { batch: 0 }), "E_GENERATION", /batch/);
  await refused(() => model.scoreAnswers(prompts, ["a"], { ends: true } as object), "E_GENERATION", /did you mean "end"/);
  const reason = new Error("enough");
  assert.is(await model.scoreAnswers(prompts, ["a"], { signal: AbortSignal.abort(reason) }).catch((error) => error), reason);
});

test.run();
