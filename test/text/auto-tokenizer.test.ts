// AutoTokenizer: from a folder, a GGUF file, and the hub's cache; tokens that were added to a sentencepiece model.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AutoTokenizer } from "../../lib/text/auto-tokenizer.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, copyFolder } from "../case.js";

const test = suite("AutoTokenizer");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-tokenizer-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

const rejects = async (promise: Promise<unknown>, code: string) =>
  promise.then(
    () => assert.unreachable(),
    (error: { code?: string }) => assert.is(error.code, code),
  );

test("a folder, a GGUF file, and an id whose snapshot is in the cache", async () => {
  const gguf = new Case("gguf-llama");
  const source = gguf.beside("tokenizer-llama3");
  const sentence = "The quick brown fox, 12345 times";
  const want = Tokenizer.fromPretrained(source).encode(sentence);
  assert.equal((await AutoTokenizer.fromPretrained(source)).encode(sentence), want);
  assert.equal((await AutoTokenizer.fromPretrained(join(gguf.folder, "model.gguf"))).encode(sentence), want);

  const commit = "0123456789abcdef0123456789abcdef01234567";
  const cached = join(folder, "models--org--llama");
  mkdirSync(join(cached, "refs"), { recursive: true });
  writeFileSync(join(cached, "refs", "main"), commit);
  copyFolder(source, join(cached, "snapshots", commit));
  const before = { ...process.env };
  Object.assign(process.env, { HF_HUB_CACHE: folder, HF_HUB_OFFLINE: "1" });
  try {
    assert.equal((await AutoTokenizer.fromPretrained("org/llama")).encode(sentence), want);
    assert.equal((await AutoTokenizer.fromPretrained("org/llama", { revision: commit })).encode(sentence), want);
    await rejects(AutoTokenizer.fromPretrained("org/other"), "E_HUB_OFFLINE");
  } finally {
    for (const key of ["HF_HUB_CACHE", "HF_HUB_OFFLINE"]) {
      if (before[key] === undefined) delete process.env[key];
      else process.env[key] = before[key];
    }
  }
});

test("what is asked for wrongly, and what holds no tokenizer", async () => {
  await rejects(AutoTokenizer.fromPretrained(7 as unknown as string), "E_ARGUMENT");
  await rejects(AutoTokenizer.fromPretrained(folder), "E_TOKENIZER");
  writeFileSync(join(folder, "x.bin"), "PK\x03\x04 a pickle in a zip");
  await rejects(AutoTokenizer.fromPretrained(join(folder, "x.bin")), "E_GGUF");
  const stopped = AbortSignal.abort(new Error("enough"));
  await AutoTokenizer.fromPretrained(folder, { signal: stopped }).then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.message, "enough"),
  );
});

test("chat_template.jinja counts before the one in tokenizer_config.json", async () => {
  copyFolder(new Case("tokenizer-llama3").folder, folder);
  writeFileSync(join(folder, "chat_template.jinja"), "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}");
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  assert.is(tokenizer.applyChatTemplate([{ role: "user", content: "hi" }]), "[user] hi");
});

test("tokens added to a sentencepiece model, in both of their files", () => {
  const source = new Case("tokenizer-spm");
  const size = source.info.vocab_size as number;
  const plain = () => {
    copyFileSync(join(source.folder, "tokenizer.model"), join(folder, "tokenizer.model"));
    return Tokenizer.fromPretrained(folder);
  };
  const inner = plain().encode("cat", { addSpecialTokens: false });
  const config = { bos_token: "<s>", eos_token: "</s>", pad_token: "<pad>" };
  const added = { [size]: { content: "<image>", special: false }, [size + 1]: { content: "<pad>", special: true } };
  const files: [string, object][][] = [
    [["tokenizer_config.json", { ...config, added_tokens_decoder: added }]],
    [
      ["tokenizer_config.json", config],
      ["added_tokens.json", { "<image>": size, "<pad>": size + 1 }],
    ],
  ];
  for (const set of files) {
    for (const [name, json] of set) writeFileSync(join(folder, name), JSON.stringify(json));
    const tokenizer = Tokenizer.fromPretrained(folder);
    assert.is(tokenizer.vocabSize, size + 2);
    assert.is(tokenizer.padTokenId, size + 1);
    assert.is(tokenizer.tokenToId("<image>"), size);
    assert.equal(tokenizer.encode("cat<image>cat"), [1, ...inner, size, ...inner]);
    assert.is(tokenizer.decode([...inner, size, size + 1]), "cat<image><pad>");
    assert.is(tokenizer.decode([...inner, size, size + 1], { skipSpecialTokens: true }), "cat<image>");
    assert.is(tokenizer.specialTokens.has("<pad>"), true);
    assert.is(tokenizer.specialTokens.has("<image>"), false);
    rmSync(join(folder, "tokenizer_config.json"));
  }
});

test.run();
