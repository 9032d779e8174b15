// Adapters of PEFT over random LLaMAs, tied and untied, held against anymal: logits as loaded, after saving and loading again, and merged and exported.
// usage: tsx tools/differential/adapters.ts [COUNT] [SEED]; PYTHON names an interpreter with transformers and peft.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { exportMerged } from "../../lib/adapters/export.js";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { noGrad } from "../../lib/core/autograd.js";
import { device } from "../../lib/core/device.js";
import { LlamaForCausalLM } from "../../lib/models/llama.js";
import { readConfig } from "../../lib/models/llama-config.js";

interface Wanted {
  ids: number[];
  logits: number[];
}
/** Of the largest logit: sums of f32 in another order. */
const ALLOWED = 2e-5;
const cpu = device("cpu");
const load = (folder: string) => LlamaForCausalLM.fromPretrained(folder, { device: cpu, dtype: "f32" });

async function last(model: LlamaForCausalLM, ids: number[]): Promise<Float32Array> {
  const { logits } = noGrad(() => model.forward({ inputIds: [ids] }, { logits: "last" }));
  return (await logits!.data().finally(() => logits!.dispose())) as Float32Array;
}

async function check(folder: string): Promise<string[]> {
  const wanted = JSON.parse(readFileSync(join(folder, "case.json"), "utf8")) as Wanted;
  const size = Math.max(...wanted.logits.map(Math.abs));
  const problems: string[] = [];
  const hold = async (what: string, model: LlamaForCausalLM) => {
    const got = await last(model, wanted.ids);
    const off = Math.max(...got.map((v, i) => Math.abs(v - (wanted.logits[i] as number)))) / size;
    if (!(off <= ALLOWED)) problems.push(`${what}: off by ${off}`);
  };
  using model = load(join(folder, "base"));
  const adapter = await LoraAdapter.load(model, join(folder, "adapter"));
  await hold("loaded", model);
  await adapter.save(join(folder, "again"));
  using other = load(join(folder, "base"));
  await LoraAdapter.load(other, join(folder, "again"));
  await hold("saved and loaded", other);
  await exportMerged(model, join(folder, "merged"), readConfig(join(folder, "base")));
  using merged = load(join(folder, "merged"));
  await hold("exported", merged);
  return problems;
}

const [count = "50", seed = "1"] = process.argv.slice(2);
const root = mkdtempSync(join(tmpdir(), "anymal-differential-"));
try {
  const script = fileURLToPath(new URL("./adapters.py", import.meta.url));
  execFileSync(process.env.PYTHON ?? "python3", [script, root, count, seed], { stdio: ["ignore", "ignore", "ignore"] });
  let failed = 0;
  for (const name of readdirSync(root).sort()) {
    const problems = await check(join(root, name)).catch((error: Error) => [error.message]);
    if (!problems.length) continue;
    failed += 1;
    console.log(
      `case ${name}: ${problems.join("; ")}\n  ${readFileSync(join(root, name, "case.json"), "utf8").replace(/"logits": \[[^\]]*\], /, "")}`,
    );
  }
  console.log(`adapters: ${Number(count) - failed} of ${count} cases agree (seed ${seed})`);
  process.exitCode = failed ? 1 : 0;
} finally {
  rmSync(root, { recursive: true, force: true });
}
