// Log-probabilities of given continuations and next tokens against transformers', in several families; what is refused; that nothing is left behind.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ContinuationScore } from "../../lib/generate/score.js";
import { noGrad } from "../../lib/index.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import type { CausalDecoder } from "../../lib/models/causal-decoder.js";
import { Case, caseNames, here, near } from "../case.js";
import { leftPadded } from "./decoding.js";

interface Row {
  prompt: number[];
  continuations: { tokens: number[]; log_probs: number[]; greedy: boolean }[];
  next: number[];
}
const cases = caseNames(/^decoding-/).map((name) => new Case(name));
const load = (c: Case): Promise<CausalDecoder> => AutoModelForCausalLM.fromPretrained(c.base, { device: here, dtype: "f32" });

function equal(got: readonly ContinuationScore[], want: Row["continuations"], atol: number, what: string): void {
  assert.equal(
    got.map(({ tokens, greedy }) => [tokens, greedy]),
    want.map(({ tokens, greedy }) => [tokens, greedy]),
    what,
  );
  for (const [i, { logProbs, logProb }] of got.entries()) {
    near(logProbs, want[i]!.log_probs, atol, what);
    near([logProb], [want[i]!.log_probs.reduce((a, b) => a + b, 0)], atol * logProbs.length, `${what}, summed`);
  }
}

for (const c of cases)
  test(`${c.name}: continuations of prompts alone, together and in small batches, and next tokens`, async () => {
    using llm = await load(c);
    const { rows, tokens, atol } = c.info.scores as { rows: Row[]; tokens: number[]; atol: number };
    const lists = rows.map(({ continuations }) => continuations.map((one) => one.tokens));
    for (const [b, { prompt, continuations, next }] of rows.entries()) {
      const [own] = await llm.scoreContinuations({ inputIds: [prompt] }, [lists[b]!]);
      equal(own!, continuations, atol, `row ${b}`);
      const [after] = await llm.nextLogProbs({ inputIds: [prompt] }, tokens);
      near(after!, next, atol, `row ${b}, next`);
      using inputsEmbeds = noGrad(() => llm.embed([prompt]));
      const [embedded] = await llm.scoreContinuations({ inputsEmbeds }, [lists[b]!.slice(0, 2)]);
      equal(embedded!, continuations.slice(0, 2), atol, `row ${b}, embedded`);
    }
    const together = leftPadded(rows.map(({ prompt }) => prompt));
    for (const batch of [32, 2])
      for (const [b, own] of (await llm.scoreContinuations(together, lists, { batch })).entries())
        equal(own, rows[b]!.continuations, atol, `batch ${batch}, row ${b}`);
    for (const [b, after] of (await llm.nextLogProbs(together, tokens)).entries())
      near(after, rows[b]!.next, atol, `row ${b} of all, next`);
  });

const c = cases[0] as Case;
const [row, other] = c.info.scores.rows as [Row, Row];

test("a continuation has the same numbers beside longer ones and alone, and rows without any have none", async () => {
  using llm = await load(c);
  const lists = row.continuations.map(({ tokens }) => tokens);
  const [all] = await llm.scoreContinuations({ inputIds: [row.prompt] }, [lists]);
  for (const [i, one] of lists.entries())
    assert.equal((await llm.scoreContinuations({ inputIds: [row.prompt] }, [[one]]))[0], [all![i]], `continuation ${i}`);
  const some = await llm.scoreContinuations(leftPadded([row.prompt, other.prompt]), [[], [lists[0]!]]);
  assert.equal(
    some.map((own) => own.length),
    [0, 1],
  );
  assert.equal(await llm.scoreContinuations({ inputIds: [row.prompt] }, [[]]), [[]]);
});

test("what a model cannot score is refused by name; aborting throws the reason; nothing is left on the device", async () => {
  using llm = await load(c);
  const prompt = { inputIds: [row.prompt] };
  const { vocabSize, maxPositions } = llm.config;
  await llm.scoreContinuations(prompt, [[[1, 2]]]);
  await here.synchronize();
  const before = here.memory().tensors;
  const refused = async (run: () => Promise<unknown>, said: RegExp) => {
    const error = await run().then(
      () => assert.unreachable(String(said)),
      (error: { code?: string; message: string }) => error,
    );
    assert.is((error as { code?: string }).code, "E_GENERATION");
    assert.match((error as Error).message, said);
  };
  await refused(() => llm.scoreContinuations(prompt, [[[1, vocabSize]]]), /ids from 0 to/);
  await refused(() => llm.scoreContinuations(prompt, [[[]]]), /at least one id/);
  await refused(() => llm.scoreContinuations(prompt, [[[1]], [[2]]]), /1 lists, one for each row/);
  await refused(() => llm.scoreContinuations(prompt, [[new Array(maxPositions).fill(1)]]), /the model's context/);
  await refused(() => llm.scoreContinuations(prompt, [[[1]]], { batch: 0 }), /batch/);
  await refused(() => llm.scoreContinuations(prompt, [[[1]]], { batches: 2 } as object), /did you mean "batch"/);
  await refused(() => llm.nextLogProbs(prompt, []), /at least one id/);
  await refused(() => llm.nextLogProbs(prompt, [-1]), /ids from 0 to/);
  const reason = new Error("enough");
  const scoring = llm.scoreContinuations(prompt, [[[1, 2]]], { signal: AbortSignal.abort(reason) });
  assert.is(await scoring.catch((error) => error), reason);
  await here.synchronize();
  assert.is(here.memory().tensors, before);
});

test.run();
