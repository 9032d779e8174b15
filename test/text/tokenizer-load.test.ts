// Tokenizer.load: the tokenizer that fromPretrained makes, table for table the package's own, in pieces of bounded work.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { atOnce } from "../../lib/core/turns.js";
import { hubTokenizer } from "../../lib/text/hub-model.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames, copyFolder } from "../case.js";
import { perTurn } from "../turns.js";
import { jsonOf, wordsOf } from "./words.js";

const test = suite("Tokenizer.load");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-tokenizer-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

test("as fromPretrained makes it, of every kind of file", async () => {
  const cases = [/^tokenizer-/, /^gguf-tokenizer-/].flatMap(caseNames).map((name) => new Case(name));
  assert.ok(cases.length > 3);
  for (const { name, folder: at } of cases) {
    const path = name.startsWith("gguf") ? join(at, "vocab.gguf") : at;
    const [one, other] = [await Tokenizer.load(path), Tokenizer.fromPretrained(path)];
    const text = "The quick brown fox, 12345 times; <s> h\u00e9llo \u4f60\u597d";
    assert.equal(one.encode(text), other.encode(text), name);
    assert.is(one.decode(one.encode(text)), other.decode(other.encode(text)), name);
    assert.is(one.vocabSize, other.vocabSize, name);
    assert.equal(one.specialTokens, other.specialTokens, name);
    assert.is(one.hasChatTemplate, other.hasChatTemplate, name);
  }
});

test("the package's own tables, whatever form the file has", () => {
  const { vocab, merges } = wordsOf(3000);
  const forms: Record<string, object> = {
    pairs: jsonOf({ vocab, merges }),
    spelled: jsonOf({ vocab, merges: merges.map((pair) => pair.join(" ")) }),
    unknown: jsonOf({ vocab: { "<unk>": 60_000, ...vocab }, merges, unk_token: "<unk>", byte_fallback: true }),
    "no merges": jsonOf({ vocab, merges: [] }),
    "an id twice": jsonOf({ vocab: { ...vocab, extra: 5 }, merges }),
    unigram: {
      ...jsonOf({}),
      model: {
        type: "Unigram",
        unk_id: 0,
        vocab: [
          ["<unk>", 0],
          ["a", -1],
          ["b", -2],
        ],
      },
    },
  };
  for (const [name, json] of Object.entries(forms)) {
    const own = new HubTokenizer(json, {});
    const ours = atOnce(hubTokenizer(json as Record<string, unknown>, {}));
    for (const table of ["tokens_to_ids", "vocab", "merges", "bpe_ranks", "unk_token_id"])
      assert.equal((ours.model as never)[table], (own.model as never)[table], `${name}: ${table}`);
    assert.equal(ours.get_vocab(), own.get_vocab(), name);
    assert.equal(ours.encode("abc zyx fgh\u00e9"), own.encode("abc zyx fgh\u00e9"), name); // added tokens are not the package's task
  }
});

test("no turn of the event loop has much of it to do", async () => {
  const { vocab, merges } = wordsOf(20_000);
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(jsonOf({ vocab, merges }), null, 1));
  writeFileSync(
    join(folder, "tokenizer_config.json"),
    JSON.stringify({ chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}" }),
  );
  await Tokenizer.load(new Case("tokenizer-llama3").folder);
  const { value, turns, most } = await perTurn(() => Tokenizer.load(folder));
  assert.is(value.vocabSize, Tokenizer.fromPretrained(folder).vocabSize);
  assert.ok(turns > 50, `${turns} turns`);
  assert.ok(most.json < 20_000, `${most.json} characters of JSON in one turn`);
  assert.ok(most.blocks < 50_000, `${most.blocks} blocks in one turn, of them ${most.where}`);
});

test("what is no tokenizer is refused with the same words; an abort with its reason", async () => {
  const said = async (run: () => unknown): Promise<string> => {
    const outcome = await Promise.resolve()
      .then(run)
      .catch((error: Error) => error);
    assert.instance(outcome, Error);
    return String(outcome);
  };
  copyFolder(new Case("tokenizer-llama3").folder, folder);
  for (const text of [`{"model":${"[".repeat(1e5)}`, "{}", '{"model":{"type":"BPE","vocab":{},"merges":[]}}', "null x"]) {
    writeFileSync(join(folder, "tokenizer.json"), text);
    assert.is(await said(() => Tokenizer.load(folder)), await said(() => Tokenizer.fromPretrained(folder)));
  }
  const { folder: whole } = new Case("tokenizer-llama3");
  assert.match(await said(() => Tokenizer.load(whole, { signal: AbortSignal.abort(new Error("enough")) })), /enough/);
});

test.run();
