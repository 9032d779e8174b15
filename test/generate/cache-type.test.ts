// Keys and values that are kept as less than the model computes in: how far logits drift, what is saved, and that nothing else changes.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { noGrad } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import type { CacheType } from "../../lib/nn/key-values.js";
import { Case, caseNames, here } from "../case.js";

const [c] = caseNames(/^(llama|mistral|qwen(?!2-audio))/)
  .map((name) => new Case(name))
  .filter(({ info }) => info.generate) as [Case];
const load = (dtype: "f32" | "bf16") => LlamaForCausalLM.fromPretrained(c.folder, { device: here, dtype });
const { prompt, new_ids } = c.info.generate.single[0] as { prompt: number[]; new_ids: number[] };
const answer = new_ids.slice(0, 12);

/** Logits of each step of the same tokens: the prompt, one by one, three at once. */
async function steps(llm: LlamaForCausalLM, type?: CacheType): Promise<{ logits: number[]; bytes: number }> {
  using cache = llm.createCache(1, prompt.length + answer.length, type);
  const logits: number[] = [];
  for (const ids of [prompt, ...answer.slice(0, 9).map((id) => [id]), answer.slice(9)]) {
    const { logits: row } = noGrad(() => llm.forward({ inputIds: [ids] }, { cache, logits: "last" }));
    logits.push(...(await row!.data()));
    row!.dispose();
  }
  return { logits, bytes: cache.bytes };
}

/** Root of the mean square of what lies between the two, as a share of what the logits vary by. */
function drift(got: number[], want: number[]): number {
  const mean = want.reduce((sum, v) => sum + v, 0) / want.length;
  const of = (f: (i: number) => number) => Math.sqrt(want.reduce((sum, _, i) => sum + f(i) ** 2, 0));
  return of((i) => got[i]! - want[i]!) / of((i) => want[i]! - mean);
}

// Measured: see what is printed. A code of 8 bit is off by up to 1/254 of its head's largest, bf16 by 1/512 of each number.
for (const [type, most] of [
  ["bf16", 0.01],
  ["int8", 0.02],
] as const)
  test(`${type}: logits drift by less than ${100 * most} % of what they vary by`, async () => {
    using llm = load("f32");
    const [want, got] = [await steps(llm), await steps(llm, type)];
    const far = drift(got.logits, want.logits);
    console.log(`${type}: logits drift by ${(100 * far).toFixed(3)} %; ${got.bytes} bytes for ${want.bytes}`);
    assert.ok(far < most, `${far}`);
    assert.ok(far > 0, "it is kept as it says");
    assert.ok(got.bytes < want.bytes);
  });

test("recorded steps answer as steps do, rows together as alone, and from what was read before", async () => {
  for (const dtype of ["f32", "bf16"] as const)
    for (const kvCache of ["bf16", "int8"] as const) {
      using llm = load(dtype);
      const options = { maxNewTokens: 10, eosTokenId: [], kvCache };
      const rows = [prompt, [...prompt].reverse()];
      const together = await generate(llm, { inputIds: rows }, options);
      for (const [b, row] of rows.entries()) assert.equal(await generate(llm, { inputIds: [row] }, options), [together[b]]);
      using cache = llm.createCache(1, prompt.length + 10, kvCache);
      const ids: number[] = [];
      for (let read = prompt; ids.length < 10; read = ids.slice(-1)) {
        const { logits } = noGrad(() => llm.forward({ inputIds: [read] }, { cache, logits: "last" }));
        const values = await logits!.data();
        logits!.dispose();
        ids.push(values.indexOf(Math.max(...(values as Float32Array))));
      }
      assert.equal(together[0], ids);
      using past = new PrefixCache();
      for (const kind of [kvCache, undefined, kvCache] as const)
        assert.equal(
          await generate(llm, { inputIds: [prompt] }, { ...options, kvCache: kind, past }),
          await generate(llm, { inputIds: [prompt] }, { ...options, kvCache: kind }),
          `${kind}`,
        );
      for (const type of ["int8", "bf16"] as const) {
        const held = past.take(llm, prompt, prompt.length + 1, { type });
        assert.is(held.type, type, "what was read as another type is not gone on with");
        past.keep(held, undefined);
      }
    }
});

test("a cache in 8 bit grows and keeps what it held", async () => {
  using llm = load("bf16");
  using cache = llm.createCache(1, prompt.length, "int8");
  noGrad(() => llm.forward({ inputIds: [prompt] }, { cache, logits: "last" })).logits!.dispose();
  using longer = cache.grown(prompt.length + 4);
  using same = llm.createCache(1, prompt.length + 4, "int8");
  noGrad(() => llm.forward({ inputIds: [prompt] }, { cache: same, logits: "last" })).logits!.dispose();
  const next = async (of: typeof cache) => {
    using logits = noGrad(() => llm.forward({ inputIds: [[answer[0]!]] }, { cache: of, logits: "last" })).logits!;
    return Array.from(await logits.data());
  };
  assert.equal(await next(longer), await next(same));
  assert.is(longer.type, "int8");
});

test("what is none is refused by name", async () => {
  using llm = load("f32");
  const code = (wanted: string) => (error: { code?: string; message: string }) => error.code === wanted && error.message.includes("q8_0");
  assert.throws(() => llm.createCache(1, 4, "q8_0" as never), code("E_ARGUMENT"));
  try {
    await generate(llm, { inputIds: [prompt] }, { kvCache: "q8_0" as never });
    assert.unreachable();
  } catch (error) {
    assert.ok(code("E_GENERATION")(error as never), String(error));
  }
});

test.run();
