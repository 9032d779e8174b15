// The commands about folders, of adapters that are no LoRA: inspect says what they are, export merges those that add up to weights.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { noGrad } from "../../lib/core/autograd.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { Case, caseNames, here } from "../case.js";
import { inProcess } from "./program.js";

const to = mkdtempSync(join(tmpdir(), "anymal-cli-adapters-"));
test.after(() => rmSync(to, { recursive: true }));
const command = async (...args: string[]) => {
  const { value, error } = await inProcess([...args, "--json"]);
  if (error) throw error;
  return value.at(-1);
};

test("(IA)3 is inspected, copied and merged", async () => {
  const c = new Case(caseNames(/^ia3$/)[0]!);
  const folder = join(c.folder, "adapter");
  const found = (await command("inspect", folder)) as { kind: string; about: string; facts: Record<string, string> };
  assert.is(found.kind, "adapter");
  assert.match(found.about, /ia3/);
  assert.match(found.facts["feedforward modules"]!, /down_proj/);
  const merged = (await command("export", folder, join(to, "merged"), "--llm", c.base, "--device", here.name)) as { layers: number };
  assert.is(merged.layers, Object.keys(c.info.adapter_keys).length);
  using model = LlamaForCausalLM.fromPretrained(join(to, "merged"), { device: here });
  const mask = c.rows("in.attention_mask");
  await c.close("out.merged.logits", noGrad(() => model.forward({ inputIds: c.rows("in.input_ids"), attentionMask: mask })).logits!, {
    mask,
  });
  await command("export", folder, join(to, "copied"), "--llm", c.base, "--adapter");
  const copied = JSON.parse(readFileSync(join(to, "copied", "adapter_config.json"), "utf8"));
  assert.equal([copied.peft_type, copied.base_model_name_or_path], ["IA3", c.base]);
});

test("prompts are inspected and copied; a merged folder of them is refused, and nothing is written", async () => {
  for (const [name, part] of [
    [caseNames(/^llama-adapter-v1$/)[0]!, ""],
    [caseNames(/^peft-adaption-prompt$/)[0]!, "adapter"],
    [caseNames(/^prompt-tuning$/)[0]!, "adapter"],
    [caseNames(/^bottleneck-adapter$/)[0]!, ""],
    [caseNames(/^prefix-tuning$/)[0]!, "adapter"],
  ] as const) {
    const c = new Case(name);
    const folder = join(c.folder, part);
    const found = (await command("inspect", folder)) as { kind: string; sizes: unknown };
    assert.is(found.kind, "adapter", name);
    await command("export", folder, join(to, name), "--llm", c.base, "--adapter");
    const { error } = await inProcess(["export", folder, join(to, `${name}-merged`), "--llm", c.base, "--json"]);
    assert.is((error as { code?: string } | undefined)?.code, "E_ADAPTER", name);
  }
});

test.run();
