// MMICL's published folders: InstructBLIP's names from a file of torch.save, a table with rows for the names of pictures, and a Q-Former that is told nothing.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { inspectFolder } from "../../lib/cli/inspect-folder.js";
import { noGrad } from "../../lib/core/autograd.js";
import { Tensor } from "../../lib/core/tensor.js";
import { convertCheckpoint } from "../../lib/io/convert.js";
import { mmicl, PROXIES } from "../../lib/systems/mmicl.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { instruct } from "../../lib/train/instruct.js";
import { Case, caseNames, copyFolder, here } from "../case.js";
import { fresh, remove, tensorsOf, torchFile } from "../io/torch-case.js";
import { all } from "../train/stages.js";
import { blip2Folder, pictureOf } from "./blip2-cases.js";

const test = suite("MMICL's files");
const [name] = caseNames(/^instructblip-words/) as [string];
const c = new Case(name);
const original = blip2Folder(c);
test.after(() => {
  rmSync(original, { recursive: true });
  remove();
});
const load = (from: string) => AnyMAL.fromPretrained(from, { device: here });
const tokens = Tokenizer.fromPretrained(original).vocabSize;
const ALL = PROXIES.length + 1;

/** The case as torch.save writes it, with so many rows more in the language model's tables than its tokenizer has tokens; converted. */
async function converted(more: number): Promise<string> {
  const [from, to] = [fresh(), fresh()];
  copyFolder(original, from, (file) => !file.endsWith(".safetensors"));
  const tensors = tensorsOf(original);
  for (const [key, { dtype, shape, bytes }] of tensors) {
    if (!/^language_model\..*(embed_tokens|lm_head)\.weight$/.test(key)) continue;
    const width = shape[1] as number;
    const rows = new Uint8Array((tokens + more) * width * 4);
    rows.set(bytes.subarray(0, rows.length));
    tensors.set(key, { dtype, shape: [tokens + more, width], bytes: rows });
  }
  torchFile(join(from, "pytorch_model.bin"), tensors);
  const config = c.json() as { text_config: object };
  const text_config = { ...config.text_config, vocab_size: tokens + more };
  writeFileSync(join(from, "config.json"), JSON.stringify({ ...config, text_config }));
  await convertCheckpoint(from, to);
  return to;
}

test("a table with 21 rows more than the tokenizer has tokens is MMICL's; any other is InstructBLIP's", async () => {
  const its = await converted(ALL);
  using model = await load(its);
  assert.equal((await inspectFolder(its)).facts[0], ["system", "mmicl"]);
  assert.equal([model.system, model.layout, model.prompt.written], ["mmicl", "instructblip-hf", mmicl.written]);
  assert.equal(
    PROXIES.map((proxy) => model.tokenizer.tokenToId(proxy)),
    PROXIES.map((_, i) => tokens + 1 + i),
  );
  for (const more of [0, ALL - 1, ALL + 1]) {
    const folder = await converted(more);
    copyFolder(join(original, "qformer_tokenizer"), join(folder, "qformer_tokenizer"));
    using other = await load(folder);
    assert.is(other.system, "instructblip", String(more));
  }
});

test("so is a folder whose tokenizer has the names, wherever they stand", async () => {
  const folder = await converted(ALL + 3);
  const path = join(folder, "tokenizer.json");
  const json = JSON.parse(readFileSync(path, "utf8"));
  const added = PROXIES.map((content, i) => ({ id: tokens + 3 + i, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false })); // biome-ignore format: one line
  writeFileSync(path, JSON.stringify({ ...json, added_tokens: [...json.added_tokens, ...added] }));
  using model = await load(folder);
  assert.equal([model.system, model.addedTokens], ["mmicl", [...PROXIES]]);
  assert.is(model.tokenizer.tokenToId("<image0>"), tokens + 3);
});

test("its Q-Former gives what InstructBLIP's gives that is told an empty question; trained, saved and read back it answers the same", async () => {
  using told = await load(original);
  using model = await load(await converted(ALL));
  const [features] = await model.features([pictureOf(c, 0)]);
  using rows = Tensor.from(features!.data, [1, ...features!.shape], { device: here });
  using want = noGrad(() => told.projector("image").forward(rows, { question: [[]] }));
  using got = noGrad(() => model.projector("image").forward(rows));
  assert.equal(await got.data(), await want.data());

  const ask = (one: AnyMAL) =>
    one.generateAll([[pictureOf(c, 0), pictureOf(c, 1), "what is in <image1>?"]], { maxNewTokens: 4, eosTokenId: [] });
  const before = await ask(model);
  const data = ["a", "b"].map((answer, i) => ({
    where: `row ${i}`,
    turns: [
      { role: "user" as const, content: [pictureOf(c, i), "<image0>?"] },
      { role: "assistant" as const, content: [answer] },
    ],
  }));
  const output = fresh();
  await all(instruct(model, { data, steps: 3, batch: 2, warmupSteps: 0, learningRate: 3e-2, schedule: "constant", output }));
  assert.equal([...new Set(Array.from(model.trained, (path) => path.split(".").at(-2)))].sort(), ["q_proj", "v_proj"]);
  const after = await ask(model);
  assert.not.equal(after, before);
  using again = await load(output);
  assert.equal(await ask(again), after);
});

test.run();
