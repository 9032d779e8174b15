// Prompt tuning against PEFT: rows before every sequence, their files, and that only one thing stands there.
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { exportMerged } from "../../lib/adapters/export.js";
import { createAdapter, loadAdapter } from "../../lib/adapters/load-adapter.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { Case, caseNames, here } from "../case.js";
import { holdCase, load, logitsOf } from "./cases.js";

const folder = (c: Case) => join(c.folder, "adapter");
const tokens = (c: Case) => c.shape("grad.prompt_embeddings")[0] as number;
for (const name of caseNames(/^prompt-tuning/)) holdCase(new Case(name), { folder, lead: tokens });

test("one stands before the rows at a time, with other adapters beside it, and it is no part of any weight", async () => {
  const c = new Case(caseNames(/^prompt-tuning$/)[0]!);
  using model = load(c.base);
  using other = load(c.base);
  const input = { inputIds: c.rows("in.input_ids") };
  const base = await logitsOf(model, input);
  const first = await loadAdapter(model, folder(c), { name: "first" });
  const alone = await logitsOf(model, input);
  const { tensors } = here.memory();
  const refused = (why: RegExp) => (error: { code?: string; message: string }) => error.code === "E_ADAPTER" && why.test(error.message);
  assert.throws(() => createAdapter(model, "prompt-tuning", { tokens: 2 }), refused(/"first"/));
  assert.throws(() => createAdapter(model, "prompt-tuning", { tokens: 0 }), refused(/tokens to be/));
  assert.throws(() => createAdapter(other, "prompt-tuning", { tokens: 100_000 }), refused(/context/));
  assert.throws(() => first.merge(), refused(/adds up to weights/));
  assert.is(here.memory().tensors, tensors);
  const config = JSON.parse(readFileSync(join(c.base, "config.json"), "utf8"));
  const error = await exportMerged(model, join(tmpdir(), "anymal-never"), config).catch((e) => e);
  assert.ok(error.code === "E_ADAPTER" && /rows before every sequence/.test(error.message), String(error));
  const lora = LoraAdapter.apply(model, { r: 2, targetModules: ["q_proj"] }, { name: "lora" });
  for (const [key, tensor] of lora.namedParameters()) if (key.includes("lora_B")) tensor.write(new Float32Array(tensor.size).fill(0.1));
  assert.not.equal(await logitsOf(model, input), alone);
  lora.enabled = false;
  assert.equal(await logitsOf(model, input), alone);
  const own = [...first.namedParameters()].map(([, tensor]) => tensor);
  first.detach();
  assert.ok(own.length === 1 && own.every(({ disposed }) => disposed), "rows that were taken off are freed");
  assert.equal(await logitsOf(model, input), base);
  createAdapter(model, "prompt-tuning", { tokens: 2 }, { name: "second" });
  assert.not.equal(await logitsOf(model, input), base);
});

test.run();
