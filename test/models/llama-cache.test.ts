// The key/value cache is told what a forward without it is told: positions, masks, rows that end sooner. Each answer is held against one whole forward.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { noGrad } from "../../lib/index.js";
import { LlamaForCausalLM, type LlamaInput } from "../../lib/models/llama.js";
import type { KVCache } from "../../lib/nn/kv-cache.js";
import { Case, caseNames, here, near } from "../case.js";

const load = (name: string) => LlamaForCausalLM.fromPretrained(new Case(name).folder, { device: here, dtype: "f32" });
const names = [/^llama2$/, /^mistral$/, /^qwen3$/, /^llama-dynamic/].flatMap((pattern) => {
  try {
    return caseNames(pattern).slice(0, 1);
  } catch {
    return []; // another set of cases may lack one
  }
});

type Rows = readonly (readonly number[])[];
/** Logits of each row's last token. */
async function last(model: LlamaForCausalLM, input: LlamaInput, cache?: KVCache): Promise<Float32Array[]> {
  const logits = noGrad(() => model.forward(input, { logits: "last", ...(cache && { cache }) })).logits!;
  const all = (await logits.data().finally(() => logits.dispose())) as Float32Array;
  const V = model.config.vocabSize;
  return Array.from({ length: all.length / V }, (_, b) => all.slice(b * V, (b + 1) * V));
}
const alone = async (model: LlamaForCausalLM, ids: readonly number[], positions?: readonly number[]) =>
  (await last(model, { inputIds: [[...ids]], ...(positions && { positionIds: [[...positions]] }) }))[0]!;
const close = (got: Float32Array, want: Float32Array, what: string) => near(got, want, 2e-4 * Math.max(...want.map(Math.abs)), what);

for (const name of names) {
  test(`${name}: a step obeys positionIds`, async () => {
    using model = load(name);
    using cache = model.createCache(2, 8);
    const ids: Rows = [
      [3, 7, 5, 1],
      [9, 2, 4, 8],
    ];
    const at: Rows = [
      [0, 1, 2, 9],
      [4, 5, 6, 6],
    ];
    const part = (rows: Rows, from: number, to: number) => rows.map((row) => row.slice(from, to));
    await last(model, { inputIds: part(ids, 0, 3), positionIds: part(at, 0, 3) }, cache);
    if (model.config.ropeScaling.type === "dynamic") return; // keys stay turned as they were: a whole forward turns them by the longer length
    const got = await last(model, { inputIds: part(ids, 3, 4), positionIds: part(at, 3, 4) }, cache);
    for (const b of [0, 1]) close(got[b]!, await alone(model, ids[b]!, at[b]), `${name} row ${b}`);
    assert.throws(() => model.forward({ inputIds: [[1], [1]], positionIds: [[1]] }, { cache }), /positionIds.*\[2,1\]/);
    assert.throws(() => model.forward({ inputIds: [[1, 2]], positionIds: [[1]] }), /positionIds.*\[1,2\]/);
  });

  test(`${name}: rows that end sooner in a later turn have no padding among their keys`, async () => {
    using model = load(name);
    const rows: Rows[] = [
      [[3, 7, 5], [1, 6, 2], [4], [9]],
      [[9, 2, 4], [8, 5], [3], [7]],
    ];
    for (const whole of [false, true]) {
      using cache = model.createCache(2, 12);
      await last(model, { inputIds: rows.map((row) => [...row[0]!]) }, cache);
      // As transformers takes a mask: of what is new, or of everything.
      const before = whole ? [1, 1, 1] : [];
      const attentionMask = [
        [...before, 1, 1, 1],
        [...before, 1, 1, 0],
      ];
      const second = await last(model, { inputIds: [[...rows[0]![1]!], [...rows[1]![1]!, 0]], attentionMask }, cache);
      const third = await last(model, { inputIds: rows.map((row) => [...row[2]!]) }, cache);
      const fourth = await last(model, { inputIds: rows.map((row) => [...row[3]!]) }, cache);
      for (const [b, row] of rows.entries()) {
        for (const [turn, got] of [second, third, fourth].entries()) {
          // Beyond the original context each sequence of a batch is turned by the longest's length: no single row says what is right there.
          if (model.config.ropeScaling.type === "dynamic" && 9 > model.config.maxPositions) continue;
          close(got[b]!, await alone(model, row.slice(0, turn + 2).flat()), `${name} row ${b}, turn ${turn + 2}, ${whole}`);
        }
      }
    }
  });
}

test("a step in which a row has nothing leaves that row as it was", async () => {
  using model = load(names[0]!);
  using cache = model.createCache(2, 8);
  await last(
    model,
    {
      inputIds: [
        [3, 7],
        [9, 2],
      ],
    },
    cache,
  );
  await last(model, { inputIds: [[5], [0]], attentionMask: [[1], [0]] }, cache);
  const got = await last(model, { inputIds: [[1], [4]] }, cache);
  close(got[0]!, await alone(model, [3, 7, 5, 1]), "the longer row");
  close(got[1]!, await alone(model, [9, 2, 4]), "the row that waited");
  // Padded on the right at first, in transformers' words: its padding is a hole.
  using right = model.createCache(2, 8);
  await last(
    model,
    {
      inputIds: [
        [3, 7, 5],
        [9, 2, 0],
      ],
      attentionMask: [
        [1, 1, 1],
        [1, 1, 0],
      ],
    },
    right,
  );
  const next = await last(
    model,
    {
      inputIds: [[1], [4]],
      attentionMask: [
        [1, 1, 1, 1],
        [1, 1, 0, 1],
      ],
    },
    right,
  );
  close(next[0]!, await alone(model, [3, 7, 5, 1]), "the longer row");
  close(next[1]!, await alone(model, [9, 2, 4]), "the shorter row");
});

test("masks and rows that do not go on from what the cache holds are refused, and nothing is written", async () => {
  using model = load(names[0]!);
  using cache = model.createCache(2, 8);
  await last(
    model,
    {
      inputIds: [
        [0, 3, 7],
        [9, 2, 4],
      ],
      attentionMask: [
        [0, 1, 1],
        [1, 1, 1],
      ],
    },
    cache,
  );
  const ids = [
    [1, 2],
    [5, 6],
  ];
  const refuse = (attentionMask: number[][], code = "E_MASK") =>
    assert.throws(
      () => model.forward({ inputIds: ids, attentionMask }, { cache }),
      (error: { code?: string }) => error.code === code,
      JSON.stringify(attentionMask),
    );
  refuse([
    [0, 1],
    [1, 1],
  ]);
  refuse([
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1],
  ]);
  refuse([
    [0, 1, 1, 1],
    [1, 1, 1, 1],
  ]);
  refuse([[1, 1]], "E_SHAPE");
  assert.throws(() => model.forward({ inputIds: [[1]] }, { cache }), /2 rows/);
  assert.is(cache.filled, 3);
  const got = await last(
    model,
    {
      inputIds: ids,
      attentionMask: [
        [0, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
      ],
    },
    cache,
  );
  close(got[0]!, await alone(model, [3, 7, 1, 2]), "padded on the left");
  close(got[1]!, await alone(model, [9, 2, 4, 5, 6]), "whole");
});

test("generate() takes what stands at the positions of embeddings beside them", async () => {
  using model = load(names[0]!);
  using past = new PrefixCache();
  const prompt = [3, 7, 5, 1];
  const want = await generate(model, { inputIds: [prompt] }, { maxNewTokens: 3, eosTokenId: [] });
  for (let turn = 0; turn < 2; ++turn) {
    using inputsEmbeds = noGrad(() => model.embed([prompt]));
    assert.equal(await model.generate({ inputsEmbeds, positions: prompt, past, maxNewTokens: 3, eosTokenId: [] }), want);
  }
});

test.run();
