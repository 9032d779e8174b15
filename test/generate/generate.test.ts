// Generation against transformers' greedy ids and against the full forward pass: recorded steps, batches, endings, streams, aborting, memory.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { generate, generateTokens } from "../../lib/generate/generate.js";
import { PrefixCache } from "../../lib/generate/prefix-cache.js";
import { generateTexts, streamText, TextStream } from "../../lib/generate/text.js";
import { noGrad } from "../../lib/index.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseFolder, caseNames, here } from "../case.js";

const load = (c: Case) => LlamaForCausalLM.fromPretrained(c.folder, { device: here, dtype: "f32" });
const cases = caseNames(/^(llama(?!-adapter)|mistral|qwen(?!2-audio))/).map((name) => new Case(name));

for (const c of cases.filter(({ info }) => info.generate)) {
  const { single, batch_left_padded } = c.info.generate;
  test(`${c.name}: greedy ids alone, in a batch padded on the left, and from embeddings`, async () => {
    using llm = load(c);
    for (const { prompt, new_ids } of single) {
      const options = { maxNewTokens: new_ids.length, eosTokenId: [] };
      assert.equal(await generate(llm, { inputIds: [prompt] }, options), [new_ids]);
      using inputsEmbeds = noGrad(() => llm.embed([prompt]));
      assert.equal(await generate(llm, { inputsEmbeds }, options), [new_ids]);
    }
    const { input_ids: inputIds, attention_mask: attentionMask, new_ids } = batch_left_padded;
    assert.equal(await generate(llm, { inputIds, attentionMask }, { maxNewTokens: new_ids[0].length, eosTokenId: [] }), new_ids);
  });
}

for (const c of cases.filter(({ info }) => info.generate)) {
  test(`${c.name}: a prompt that goes on from what was read before gives transformers' ids, and so does another beginning`, async () => {
    using llm = load(c);
    using past = new PrefixCache();
    const [one, other] = c.info.generate.single as { prompt: number[]; new_ids: number[] }[];
    const n = one!.prompt.length;
    // A prompt, the same again, on into a longer cache, and back; then another, of which the first may have the beginning.
    for (const { prompt, new_ids, length } of [n, n, n + 3, n - 1]
      .map((length) => ({ ...one!, length }))
      .concat({ ...other!, length: other!.prompt.length })) {
      const all = [...prompt, ...new_ids];
      const options = { maxNewTokens: all.length - length - 1, eosTokenId: [] };
      const given = await generate(llm, { inputIds: [all.slice(0, length)] }, { ...options, past });
      if (length >= prompt.length) assert.equal(given, [all.slice(length, -1)]);
      else assert.equal(given, await generate(llm, { inputIds: [all.slice(0, length)] }, options));
      assert.is(past.length, all.length - 2); // the last token was never read
    }
  });
}

for (const name of caseNames(/^llama-dynamic/))
  test(`${name}: where RoPE follows the length, a conversation answers as without a past`, async () => {
    using llm = load(new Case(name));
    using past = new PrefixCache();
    const ids = Array.from({ length: llm.config.maxPositions - 8 }, (_, i) => (i * 37 + 5) % llm.config.vocabSize);
    for (const length of [4, 9, ids.length >> 1, ids.length]) {
      const prompt = { inputIds: [ids.slice(0, length)] };
      const options = { maxNewTokens: 6, eosTokenId: [] };
      assert.equal(await generate(llm, prompt, { ...options, past }), await generate(llm, prompt, options), `${length} ids`);
    }
  });

const c = (cases.find(({ info }) => info.generate?.text) ?? cases.find(({ info }) => info.generate)) as Case; // one with a tokenizer, if any
const { prompt, new_ids } = c.info.generate.single[0] as { prompt: number[]; new_ids: number[] };

for (const c of cases.filter(({ info }) => info.generate)) {
  test(`${c.name}: two generations at once do not disturb each other, whatever tables they need`, async () => {
    using llm = load(c);
    const { single, batch_left_padded } = c.info.generate;
    const start = (inputIds: number[][], rest: object, maxNewTokens: number) =>
      generateTokens(llm, { inputIds, ...rest }, { maxNewTokens, eosTokenId: [] });
    const first = start([single[0].prompt], {}, single[0].new_ids.length);
    const { input_ids, attention_mask: attentionMask, new_ids } = batch_left_padded;
    const second = start(input_ids, { attentionMask }, new_ids[0].length);
    const got: [number[], number[][]] = [[], new_ids.map(() => [])];
    for (let i = 0; i < new_ids[0].length; ++i) {
      const [one, all] = [await first.next(), await second.next()];
      got[0].push(one.value![0]!);
      for (const [b, token] of all.value!.entries()) got[1][b]!.push(token!);
    }
    assert.equal(got, [single[0].new_ids, new_ids]);
    await Promise.all([first.return(undefined), second.return(undefined)]);
  });
}

test("every step's token is the argmax of a full forward over everything before it", async () => {
  using llm = load(c);
  const ids = [...prompt];
  for await (const [token] of generateTokens(llm, { inputIds: [prompt] }, { maxNewTokens: 8, eosTokenId: [] })) {
    using logits = noGrad(() => llm.forward({ inputIds: [ids] }, { logits: "last" })).logits!;
    const row = [...((await logits.data()) as Float32Array)];
    assert.is(token, row.indexOf(Math.max(...row)));
    ids.push(token!);
  }
});

test("a row ends after its ending token, the others go on", async () => {
  using llm = load(c);
  const { input_ids: inputIds, attention_mask: attentionMask, new_ids: all } = c.info.generate.batch_left_padded;
  const end = all[0][2];
  const until = (row: number[]) => (row.includes(end) ? row.slice(0, row.indexOf(end)) : row);
  const got = await generate(llm, { inputIds, attentionMask }, { maxNewTokens: all[0].length, eosTokenId: end });
  assert.equal(got, all.map(until));
});

test("sampling: a seed repeats itself, a cold temperature is greedy, penalties keep tokens from coming back", async () => {
  using llm = load(c);
  const run = (options: object) => generate(llm, { inputIds: [prompt] }, { maxNewTokens: 12, eosTokenId: [], ...options });
  assert.equal(await run({ temperature: 1, seed: 4 }), await run({ temperature: 1, seed: 4 }));
  assert.not.equal(await run({ temperature: 2, seed: 4 }), await run({ temperature: 2, seed: 5 }));
  assert.equal(await run({ temperature: 1e-4, seed: 1 }), [new_ids.slice(0, 12)]);
  const [once] = await run({ noRepeatNgramSize: 1 });
  assert.is(new Set([...once!, ...prompt]).size, once!.length + new Set(prompt).size, "a token came twice");
});

test("aborting stops at once with the signal's reason, and memory returns to where it was", async () => {
  using llm = load(c);
  await generate(llm, { inputIds: [prompt] }, { eosTokenId: [] }); // the table of positions grows to its final length
  await here.synchronize();
  const before = here.memory();
  const controller = new AbortController();
  const seen: number[] = [];
  try {
    for await (const [token] of generateTokens(llm, { inputIds: [prompt] }, { eosTokenId: [], signal: controller.signal })) {
      seen.push(token!);
      if (seen.length === 4) controller.abort(new Error("enough"));
    }
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).message, "enough");
  }
  assert.equal(seen, new_ids.slice(0, 4));
  for await (const _ of generateTokens(llm, { inputIds: [prompt] }, { eosTokenId: [] })) break; // leaving the loop is an end as well
  await here.synchronize();
  assert.is(here.memory().bytesInUse, before.bytesInUse);
  assert.is(here.memory().tensors, before.tensors);
});

test("the context is the limit", async () => {
  using llm = load(c);
  const long = Array.from({ length: llm.config.maxPositions - 3 }, (_, i) => prompt[i % prompt.length]!);
  assert.is((await generate(llm, { inputIds: [long] }, { maxNewTokens: 100, eosTokenId: [] }))[0]!.length, 3);
  const tooLong = [...long, 1, 1, 1];
  const error = await generate(llm, { inputIds: [tooLong] }, {}).catch((e) => e);
  assert.is(error.code, "E_GENERATION");
  assert.match(error.message, /context/);
});

const tokenizer = Tokenizer.fromPretrained(caseFolder("tokenizer-llama2"));

test("a text stream gives each character once it is whole, and nothing of a stop string", () => {
  const text = "Ünïcode ✓ 😀 then STOP and more";
  const ids = tokenizer.encode(text, { addSpecialTokens: false });
  for (const stop of [[], ["STOP"], ["never"], ["TOP", "STOPPED"]]) {
    const stream = new TextStream(tokenizer, stop);
    const pieces = ids.map((id) => (stream.stopped ? "" : stream.push(id)));
    const got = pieces.join("") + stream.end();
    const end = stop.map((s) => text.indexOf(s)).filter((at) => at >= 0);
    assert.is(got, text.slice(0, end.length ? Math.min(...end) : undefined), String(stop));
    assert.ok(!pieces.join("").includes("\ufffd"));
    assert.is(stream.stopped, end.length > 0);
  }
});

test("streams and batches of text agree", async () => {
  using llm = load(c);
  const options = { maxNewTokens: 15, eosTokenId: [] };
  let compared = 0;
  for (const { prompt, new_ids } of c.info.generate.single as { prompt: number[]; new_ids: number[] }[]) {
    const inputIds = [prompt];
    let streamed = "";
    for await (const piece of streamText(llm, tokenizer, { inputIds }, options)) streamed += piece;
    const [whole] = await generateTexts(llm, tokenizer, { inputIds }, options);
    assert.is(streamed, whole);
    // A random model writes bytes that are no UTF-8, by which decoding the whole judges those beside them, too: up to there both are the same.
    const decoded = new_ids.slice(0, 15).map((_, n) => tokenizer.decode(new_ids.slice(0, n + 1), { skipSpecialTokens: true }));
    const end = decoded.findIndex((text) => text.includes("\ufffd"));
    const sure = decoded[(end < 0 ? decoded.length : end) - 1] ?? "";
    assert.is(streamed.slice(0, sure.length), sure);
    compared += sure.length;
  }
  assert.ok(compared > 3, `${compared} characters`);
});

// transformers' StopStringCriteria builds its table from get_vocab(), special tokens included.
test("a stop text that is a special token, or has one in it, ends an answer", () => {
  const letters = ["a", "b", "c", "d", "\n"];
  const special = new Map([
    ["<|end|>", 10],
    ["<|mid|>", 11],
  ]);
  const contents = new Map(Array.from(special, ([content, id]) => [id, content]));
  const decode = (ids: readonly number[], { skipSpecialTokens = false } = {}) =>
    ids.map((id) => letters[id] ?? (skipSpecialTokens ? "" : contents.get(id))).join("");
  const run = (ids: number[], stop: string | string[]) => {
    const stream = new TextStream({ decode, specialTokens: special } as never, stop);
    let text = "";
    let read = 0;
    for (const id of ids) {
      if (stream.stopped) break;
      ++read;
      text += stream.push(id);
    }
    return [text + stream.end(), stream.stopped, read] as const;
  };
  const ids = [0, 1, 11, 2, 10, 4, 3];
  assert.equal(run(ids, []), ["abc\nd", false, 7]);
  assert.equal(run(ids, "<|end|>"), ["abc", true, 5]);
  assert.equal(run(ids, "b<|mid|>c"), ["a", true, 4], "what stands before and behind it counts");
  assert.equal(run(ids, "<|end|>\n"), ["abc", true, 6]);
  assert.equal(run(ids, "<|end|>d"), ["abc\nd", false, 7]);
  assert.equal(run(ids, ["d", "|mid"]), ["ab", true, 3]);
  assert.equal(run(ids, "bc"), ["abc\nd", false, 7], "a special token lies between");
});

test.run();
