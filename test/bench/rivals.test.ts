// What stands between a bench and another library: the file that llama.cpp is given, and the talk with a process. No library has to be there.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { randomConfig } from "../../bench/random-llama.js";
import { writeRandomGguf } from "../../bench/rivals/gguf.js";
import { Rivals } from "../../bench/rivals/index.js";
import { RivalProcess } from "../../bench/rivals/process.js";
import { GgufFile } from "../../lib/index.js";
import { llamaFromGguf } from "../../lib/models/llama-gguf.js";
import { here } from "../case.js";

const test = suite("bench rivals");
let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-rivals-"));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("the random GGUF is a LLaMA of the shape in Q4_0, with a word for each id, and its weights spread as a fresh one's do", async () => {
  const path = join(folder, "tiny.gguf");
  const config = randomConfig("tiny");
  writeRandomGguf(path, config);
  using file = new GgufFile(path);
  assert.is((file.values.get("tokenizer.ggml.tokens") as string[]).length, config.vocabSize);
  assert.is(new Set(file.values.get("tokenizer.ggml.tokens") as string[]).size, config.vocabSize);
  for (const [name, { type, shape }] of file.tensors) assert.is(type, shape.length === 1 ? "F32" : "Q4_0", name);
  const q = file.numbers("blk.0.attn_q.weight");
  const deviation = Math.sqrt(q.reduce((sum, x) => sum + x * x, 0) / q.length);
  assert.ok(deviation > 0.015 && deviation < 0.025, `${deviation}`);
  using llm = llamaFromGguf(path, { device: here });
  assert.equal({ ...llm.config, eosTokenIds: [] }, { ...config, eosTokenIds: [] });
  const { logits } = llm.forward({ inputIds: [[1, 300, 301]] });
  const values = await logits?.data();
  logits?.dispose();
  assert.ok(values?.every(Number.isFinite) && new Set(values).size > 1000);
});

/** Knows how to do "this"; told to end, it ends. */
const FAKE = `
console.log(JSON.stringify({ name: "Fake", version: "1.2" }));
let asked = 0;
require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { do: what, ...request } = JSON.parse(line);
  if (request.what === "end") process.exit(3);
  const answers = {
    prepare: request.what === "this" ? { id: 7 } : request.what === "unknown" ? {} : { error: "cannot do " + request.what },
    sample: request.id === 7 ? { seconds: ++asked } : { error: "no such id" },
    drop: {},
  };
  console.log(JSON.stringify(answers[what]));
});`;

test("a process prepares, is timed whenever it is asked, and says what it cannot do", async () => {
  const script = join(folder, "fake.cjs");
  writeFileSync(script, FAKE);
  const rival = await RivalProcess.start(process.execPath, [script]);
  const side = await rival.prepare({ what: "this" }, "with one thread");
  assert.equal([side?.name, side?.version], ["Fake, with one thread", "1.2"]);
  assert.equal([await side?.sample(), await side?.sample()], [1, 2]);
  await side?.drop();
  const said: unknown[] = [];
  const { log } = console;
  console.log = (line) => said.push(line);
  assert.is(await rival.prepare({ what: "unknown" }), undefined);
  assert.is(await rival.prepare({ what: "that" }), undefined);
  console.log = log;
  assert.equal(said, ["Fake: cannot do that"]);
  const ended = await rival.prepare({ what: "end" }).catch((error: Error) => error.message);
  assert.match(ended as string, /has ended/);
  rival.close();
});

test("without the other library the bench is told once, and goes on", async () => {
  const said: unknown[] = [];
  const { log } = console;
  console.log = (line) => said.push(line);
  const rivals = new Rivals({ python: join(folder, "no-python"), threads: 1 });
  assert.equal(await rivals.torch([{ what: "linear" }, "f32"], [{ what: "linear" }, "bf16"]), []);
  assert.equal(await rivals.torch([{ what: "attention" }, ""]), []);
  await rivals.close();
  console.log = log;
  assert.is(said.length, 1);
  assert.match(said[0] as string, /^no torch to be held against: .*no-python/);
});

test.run();
