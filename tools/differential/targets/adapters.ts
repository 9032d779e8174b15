// Adapters of PEFT over random LLaMAs, tied and untied: logits as loaded, after saving and loading again, and merged and exported.
import { join } from "node:path";
import { exportMerged } from "../../../lib/adapters/export.js";
import { LoraAdapter } from "../../../lib/adapters/lora.js";
import { noGrad } from "../../../lib/core/autograd.js";
import { device } from "../../../lib/core/device.js";
import { LlamaForCausalLM } from "../../../lib/models/llama.js";
import { readConfig } from "../../../lib/models/llama-config.js";
import { type Seeded, seeded, type Target, type Verdict } from "../target.js";

interface Wanted {
  ids: number[];
  logits: number[];
  [setting: string]: unknown;
}
/** Of the largest logit: sums of f32 in another order. */
const ALLOWED = 2e-5;
const cpu = device("cpu");
const load = (folder: string) => LlamaForCausalLM.fromPretrained(folder, { device: cpu, dtype: "f32" });

async function last(model: LlamaForCausalLM, ids: number[]): Promise<Float32Array> {
  const { logits } = noGrad(() => model.forward({ inputIds: [ids] }, { logits: "last" }));
  return (await logits!.data().finally(() => logits!.dispose())) as Float32Array;
}

async function problemsOf(folder: string, { ids, logits }: Wanted): Promise<string[]> {
  const size = Math.max(...logits.map(Math.abs));
  const problems: string[] = [];
  const hold = async (what: string, model: LlamaForCausalLM) => {
    const got = await last(model, ids);
    const off = Math.max(...got.map((v, i) => Math.abs(v - (logits[i] as number)))) / size;
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

async function compare(input: unknown, answer: unknown): Promise<Verdict> {
  const { path, seed } = input as Seeded;
  const { value, error } = answer as { value?: Wanted; error?: string };
  if (!value) return { agrees: false, what: "PEFT refuses", details: `seed ${seed}: ${error}` };
  const problems = await problemsOf(path, value).catch((problem: Error) => [problem.message]);
  if (!problems.length) return { agrees: true, what: "the same logits" };
  const { logits: _, ...settings } = value;
  return { agrees: false, what: "other logits", details: `seed ${seed}: ${problems.join("; ")}\n${JSON.stringify(settings)}` };
}

export const adapters: Target = { name: "adapters", needs: "transformers, peft", script: "adapters.py", cases: seeded, compare };
