// Decoders: random configurations of every family that is read, among them keys of others, which must be obeyed or refused, never passed over.
import { join } from "node:path";
import { backward } from "../../../lib/core/autograd.js";
import { device } from "../../../lib/core/device.js";
import type { Tensor } from "../../../lib/core/tensor.js";
import { Checkpoint } from "../../../lib/io/checkpoint.js";
import { ConfigError } from "../../../lib/models/config.js";
import { LlamaForCausalLM } from "../../../lib/models/llama.js";
import { parseLlamaConfig } from "../../../lib/models/llama-config.js";
import type { Random } from "../../fuzz/random.js";
import { type Places, type Seeded, seeded, type Target, type Verdict } from "../target.js";
import { type DecoderCase, decoderConfig } from "./decoder-configs.js";

interface Case extends Seeded, DecoderCase {
  stored: "f32" | "f16" | "bf16";
  ids: number[][];
  mask: number[][];
  labels: number[][];
  /** Are the positions given, or do they follow from the mask? */
  positions: boolean;
}

/** Families that are not read, and say so. */
// biome-ignore format: a table
const OTHERS = ["gemma", "gemma2", "gemma3_text", "phi", "phi3", "granite", "mixtral", "qwen2_moe", "qwen3_moe", "qwen3_next", "cohere", "cohere2", "olmo", "olmo2", "smollm3", "ministral", "starcoder2", "helium", "glm", "glm4", "nemotron", "exaone4", "seed_oss", "arcee", "apertus", "gpt_neox", "gpt2", "stablelm", "deepseek_v3", "llama4_text", "falcon", "mpt", "bloom"];
/** Of the largest value: sums of f32 in another order. */
const ALLOWED = 2e-5;
const MOVES = 16;
/** What transformers fails at, and why that is no fault of the reader's. */
const EXPLAINED: readonly [RegExp, string][] = [
  [
    /Field '(num_key_value_heads|head_dim)' expected int, got NoneType/,
    "null where this version of transformers wants a number: absent here",
  ],
  [/pow\(\): 'NoneType' and 'float'/, "transformers loses rope_theta beside rope_parameters without one"],
];
const cpu = device("cpu");

function* cases(random: Random, count: number, places: Places): Generator<Case> {
  for (const { seed, path } of seeded(random, count, places)) {
    const { config, odd } = decoderConfig(random);
    if (random.chance(0.03)) config.model_type = random.pick(OTHERS);
    const [rows, length] = [1 + random.below(3), 3 + random.below(12)];
    const vocab = config.vocab_size as number;
    const ids = Array.from({ length: rows }, () => Array.from({ length }, () => random.below(vocab)));
    const mask = ids.map((row) => {
      const [left, right] = [random.chance(0.3), random.chance(0.3)].map((some) => (some ? random.below(length >> 1) : 0)) as [
        number,
        number,
      ];
      return row.map((_, t) => (t >= left && t < length - Math.min(right, length - left - 2) ? 1 : 0));
    });
    // A row's first token is scored against what padding says; its last one always, so that something is.
    const labels = ids.map((row, b) =>
      row.map((id, t) => {
        const [first, last] = [mask[b]?.indexOf(1), mask[b]?.lastIndexOf(1)] as [number, number];
        return t > first && t <= last && (t === last || random.chance(0.8)) ? id : -100;
      }),
    );
    yield { seed, path, config, odd, ids, mask, labels, stored: random.pick(["f32", "f32", "f16", "bf16"]), positions: random.chance(0.5) };
  }
}

const isOther = ({ config }: Case) => OTHERS.includes(config.model_type as string);

async function compare(input: unknown, answer: unknown): Promise<Verdict> {
  const asked = input as Case;
  const { value, error } = answer as { value?: { moved: number }; error?: string };
  const details = (what: string) => `${what}\n${JSON.stringify({ ...asked, path: undefined })}`;
  if (isOther(asked)) {
    const refused = refusalOf(() => parseLlamaConfig(asked.config));
    if (refused?.key === "model_type") return { agrees: true, what: "refused: another family" };
    return { agrees: false, what: "another family is read", details: details(refused?.message ?? "") };
  }
  if (!value) {
    const refused = refusalOf(() => parseLlamaConfig(asked.config));
    if (refused) return { agrees: true, what: `both refuse: ${refused.key}` };
    const reason = EXPLAINED.find(([said]) => said.test(error ?? ""))?.[1];
    if (reason) return { agrees: true, what: `Python refuses: ${reason}` };
    return { agrees: false, what: "refused by Python alone", details: details(error as string) };
  }
  try {
    const problems = await problemsOf(asked, value.moved);
    if (!problems.length)
      return { agrees: true, what: `the same numbers${asked.odd.length ? ", keys of other families among the config's" : ""}` };
    return { agrees: false, what: "other numbers", details: details(problems.join("; ")) };
  } catch (problem) {
    if (problem instanceof ConfigError && asked.odd.includes(problem.key)) return { agrees: true, what: `refused: ${problem.key}` };
    return { agrees: false, what: "refused here alone", details: details(String((problem as Error).stack)) };
  }
}

function refusalOf(read: () => unknown): ConfigError | undefined {
  try {
    read();
    return undefined;
  } catch (problem) {
    if (problem instanceof ConfigError) return problem;
    throw problem;
  }
}

async function problemsOf({ path, ids, mask, labels, positions }: Case, moved: number): Promise<string[]> {
  using want = Checkpoint.open(join(path, "want.st"));
  const wanted = (name: string) => new Float32Array(want.bytes(name));
  using model = LlamaForCausalLM.fromPretrained(path, { device: cpu, dtype: "f32", trainable: true });
  const positionIds = mask.map((row) => row.map((_, t) => Math.max(0, row.slice(0, t + 1).filter(Boolean).length - 1)));
  const { logits, loss } = model.forward({ inputIds: ids, attentionMask: mask, labels, logits: "all", ...(positions && { positionIds }) });
  backward(loss as Tensor);
  const problems: string[] = [];
  const hold = (what: string, got: Float32Array, wants: Float32Array, allowed: number) => {
    if (got.length !== wants.length) problems.push(`${what}: ${got.length} values, not ${wants.length}`);
    const at = got.findIndex((v, i) => !(Math.abs(v - (wants[i] as number)) <= allowed));
    if (at >= 0) problems.push(`${what}[${at}]: ${got[at]}, want ${wants[at]} ± ${allowed}`);
  };
  const vocab = logits?.shape[2] as number;
  const real = (all: Float32Array) => all.filter((_, i) => mask.flat()[Math.floor(i / vocab)]);
  const theirs = real(wanted("logits"));
  hold("logits", real((await logits?.data()) as Float32Array), theirs, ALLOWED * largest(theirs) + MOVES * moved);
  const tight = problems.length === 0;
  hold("loss", (await loss?.data()) as Float32Array, wanted("loss"), ALLOWED * 10 + MOVES * moved);
  const parameters = new Map(model.namedParameters());
  const grads = [...want.names()].filter((name) => name.startsWith("grad."));
  const all = Math.max(...grads.map((name) => largest(wanted(name))));
  for (const name of tight ? grads : []) {
    const grad = parameters.get(name.slice("grad.".length))?.grad;
    if (!grad) problems.push(`${name}: none here`);
    else hold(name, (await grad.data()) as Float32Array, wanted(name), 2e-4 * largest(wanted(name)) + 1e-5 * all);
  }
  for (const each of [logits, loss, ...[...parameters.values()].map(({ grad }) => grad)]) each?.dispose();
  return problems;
}

const largest = (values: Float32Array): number => values.reduce((most, v) => Math.max(most, Math.abs(v)), 0);

export const models: Target = {
  name: "models",
  needs: "transformers, torch, safetensors",
  script: "models.py",
  cases,
  question: (input) => {
    const { config, odd: _, positions: __, ...rest } = input as Case;
    return { ...rest, config: isOther(input as Case) ? null : config };
  },
  compare,
};
