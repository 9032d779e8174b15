// Beam search against transformers' answers and scores in several families; several draws of one prompt; what is refused; that nothing is left behind.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { beamSearch } from "../../lib/generate/beams.js";
import { generate, generateTokens } from "../../lib/generate/generate.js";
import type { GenerationOptions } from "../../lib/generate/options.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { Case, caseNames, here, near } from "../case.js";
import { leftPadded } from "./decoding.js";

interface Run {
  options: Record<string, unknown>;
  prompts: number[][];
  answers: { ids: number[]; score: number }[][];
}
const cases = caseNames(/^decoding-/).map((name) => new Case(name));
const load = (c: Case, more = {}) => AutoModelForCausalLM.fromPretrained(c.base, { device: here, dtype: "f32", ...more });
/** transformers' names of options as ours. */
const optionsOf = (options: Run["options"]): GenerationOptions => {
  const named = Object.entries(options).map(([key, value]) => [
    key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
    value ?? undefined,
  ]);
  return { ...Object.fromEntries(named), eosTokenId: (options.eos_token_id ?? []) as number[] };
};
const inputOf = (prompts: number[][]) => (prompts.length > 1 ? leftPadded(prompts) : { inputIds: prompts });

for (const c of cases)
  test(`${c.name}: the same answers in the same order with the same scores`, async () => {
    using llm = await load(c);
    for (const [i, { options, prompts, answers }] of (c.info.beams as Run[]).entries()) {
      const got = await beamSearch(llm, inputOf(prompts), optionsOf(options));
      const what = `run ${i}, ${JSON.stringify(options)}`;
      assert.equal(
        got.map((own) => own.map(({ tokens }) => tokens)),
        answers.map((own) => own.map(({ ids }) => ids)),
        what,
      );
      const length = Math.max(...answers.flat().map(({ ids }) => ids.length));
      for (const [b, own] of got.entries())
        for (const [n, { score }] of own.entries())
          near([score], [answers[b]![n]!.score], c.info.scores.atol * length, `${what}, ${b}, ${n}`);
    }
  });

const c = cases[0] as Case;
const runs = c.info.beams as Run[];
const alone = runs.find(({ prompts }) => prompts.length === 1) as Run;
const prompt = { inputIds: alone.prompts };

test("generate gives the best answers without their end, and step by step what the search found", async () => {
  using llm = await load(c);
  for (const { options, prompts, answers } of runs) {
    const ends = (options.eos_token_id ?? []) as number[];
    const best = answers.flat().map(({ ids }) => ids.filter((id) => !ends.includes(id)));
    assert.equal(await llm.generate(inputOf(prompts), optionsOf(options)), best);
  }
  const steps: (number | undefined)[][] = [];
  const told: (number | undefined)[][] = [];
  const options = { ...optionsOf(alone.options), onTokens: (tokens: readonly (number | undefined)[]) => void told.push([...tokens]) };
  for await (const tokens of generateTokens(llm, prompt, options)) steps.push(tokens);
  assert.equal(
    alone.answers[0]!.map((_, n) => steps.flatMap((tokens) => tokens[n] ?? [])),
    alone.answers[0]!.map(({ ids }) => ids),
  );
  assert.equal(told, steps);
});

test("prompts searched together have the answers that each has alone; an 8-bit cache serves too", async () => {
  using llm = await load(c);
  const prompts = runs.flatMap((run) => run.prompts).slice(0, 4);
  const options: GenerationOptions = {
    numBeams: 3,
    numReturnSequences: 3,
    maxNewTokens: 8,
    eosTokenId: prompts[0]!.slice(0, 2),
    repetitionPenalty: 1.2,
  };
  const together = await beamSearch(llm, leftPadded(prompts), options);
  for (const [b, one] of prompts.entries()) {
    const [own] = await beamSearch(llm, { inputIds: [one] }, options);
    assert.equal(
      own!.map(({ tokens }) => tokens),
      together[b]!.map(({ tokens }) => tokens),
    );
  }
  const kept = await beamSearch(llm, { inputIds: [prompts[0]!] }, { ...options, kvCache: "int8" });
  assert.is(kept[0]!.length, 3);
});

test("several draws of a prompt differ from each other; a seed repeats them, and the first is the one that is drawn alone", async () => {
  using llm = await load(c);
  const options: GenerationOptions = { temperature: 1.5, seed: 3, maxNewTokens: 8, eosTokenId: [] };
  const four = await generate(llm, prompt, { ...options, numReturnSequences: 4 });
  assert.is(new Set(four.map(String)).size, 4);
  assert.equal(await generate(llm, prompt, { ...options, numReturnSequences: 4 }), four);
  assert.equal(await generate(llm, prompt, options), four.slice(0, 1));
  const { prompts } = runs.find((run) => run.prompts.length > 1) ?? alone;
  const several = await generate(llm, inputOf(prompts), { ...options, numReturnSequences: 2 });
  assert.is(several.length, 2 * prompts.length);
  assert.equal(several[0], (await generate(llm, { inputIds: [prompts[0]!] }, options))[0]);
});

test("what cannot be searched is refused by name; aborting throws the reason; nothing is left on the device", async () => {
  using llm = await load(c);
  await beamSearch(llm, prompt, { numBeams: 3, maxNewTokens: 6 });
  await here.synchronize();
  const before = here.memory().tensors;
  const refused = async (options: GenerationOptions, said: RegExp) => {
    const error = await generate(llm, prompt, { maxNewTokens: 6, ...options }).then(
      () => assert.unreachable(String(said)),
      (error: { code?: string; message: string }) => error,
    );
    assert.is((error as { code?: string }).code, "E_GENERATION", String(error));
    assert.match((error as Error).message, said);
  };
  await refused({ numBeams: 0 }, /numBeams/);
  await refused({ numBeams: llm.config.vocabSize }, /numBeams/);
  await refused({ numBeams: 2, numReturnSequences: 3 }, /at most numBeams, 2/);
  await refused({ numBeams: 2, temperature: 1 }, /answers are drawn/);
  await refused({ lengthPenalty: 1 }, /without beams/);
  await refused({ numBeams: 2, lengthPenalty: Number.NaN }, /lengthPenalty/);
  await refused({ numBeams: 2, earlyStopping: "always" as never }, /"never"/);
  await refused({ numReturnSequences: 2 }, /all alike/);
  await refused({ numBeamGroups: 2 } as object, /groups of beams/);
  const reason = new Error("enough");
  const aborting = new AbortController();
  let asked = 0;
  const forward = llm.forward.bind(llm);
  llm.forward = (input, options) => {
    if (++asked === 2) aborting.abort(reason);
    return forward(input, options);
  };
  assert.is(
    await beamSearch(llm, prompt, { numBeams: 3, maxNewTokens: 6, eosTokenId: [], signal: aborting.signal }).catch((e) => e),
    reason,
  );
  await here.synchronize();
  assert.is(here.memory().tensors, before);
});

test.run();
