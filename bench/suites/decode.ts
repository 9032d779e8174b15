// Generation over a random LLaMA in each storage: the prompt at once (prefill), then a recorded step per token, read back token by token as
// an application does. A step reads every weight but the embedding table, and the keys and values so far: bytes/s of that, beside what memory gives.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { generateTokens } from "../../lib/generate/generate.js";
import { type Device, device } from "../../lib/index.js";
import type { LlamaForCausalLM } from "../../lib/models/llama.js";
import type { LlamaConfig } from "../../lib/models/llama-config.js";
import { randomConfig, randomLlama, type Storage, weightBytes } from "../random-llama.js";
import { digits, highestPeak, mebibytes, median, printHeader, printRow, type Row, type SuiteOptions } from "../suite.js";

const STORAGES: readonly [Storage, "f32" | "bf16"][] = [
  ["nf4", "bf16"],
  ["int8", "bf16"],
  ["bf16", "bf16"],
  ["f32", "f32"],
];
const BATCHES = [1, 8];
const [PROMPT, TOKENS] = [128, 65];

const WIDTHS = {
  storage: 7,
  dtype: 5,
  batch: 5,
  "weights MiB": 11,
  "prefill tokens/s": 16,
  "decode tokens/s": 15,
  "step ms": 8,
  "GB/s": 6,
  "% of memory": 11,
  "peak MiB": 9,
  "stall ms": 9,
  "99 % stall": 10,
};

export default async function decode({ device: name, level, threads, size, filter }: SuiteOptions): Promise<Row[]> {
  const config = randomConfig(size);
  await using d = name === "cpu" ? device("cpu", { ...(level && { level }), ...(threads && { threads }) }) : device(name);
  const bandwidth = await highestPeak(d, "bandwidth");
  console.log(
    `${d.describe()}; ${size}: a prompt of ${PROMPT} tokens, then ${TOKENS - 1} steps; memory gives ${digits(bandwidth / 1e9, 1)} GB/s`,
  );
  printHeader(WIDTHS);
  const rows: Row[] = [];
  for (const [storage, dtype] of STORAGES.filter(([name]) => name.includes(filter))) {
    const llm = randomLlama(d, config, storage, dtype);
    await generateOnce(llm, config, 1, 4); // pages touched, code compiled
    for (const batch of BATCHES) {
      const row = await measure(d, llm, storage, batch, bandwidth);
      rows.push(row);
      printRow(row, WIDTHS);
    }
    llm.dispose();
    await d.synchronize();
  }
  return rows;
}

/** Milliseconds until the first token, and of each further one. */
async function generateOnce(llm: LlamaForCausalLM, { vocabSize }: LlamaConfig, batch: number, maxNewTokens: number): Promise<number[]> {
  const inputIds = Array.from({ length: batch }, (_, b) => Array.from({ length: PROMPT }, (_, i) => ((i + 31 * b) * 7919) % vocabSize));
  const times: number[] = [];
  let last = performance.now();
  for await (const _ of generateTokens(llm, { inputIds }, { maxNewTokens, eosTokenId: [] })) {
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  return times;
}

async function measure(d: Device, llm: LlamaForCausalLM, storage: Storage, batch: number, bandwidth: number): Promise<Row> {
  const { config, dtype } = llm;
  await d.synchronize();
  d.resetPeak();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const [first, ...steps] = (await generateOnce(llm, config, batch, TOKENS)) as [number, ...number[]];
  delay.disable();
  const seconds = median(steps) / 1000;
  const cached = PROMPT + TOKENS / 2; // positions, on the average
  const keysAndValues = 2 * config.layers * batch * cached * config.kvHeads * config.headDim * (dtype === "f32" ? 4 : 2);
  const bytes = weightBytes(llm);
  const rate = (bytes + keysAndValues) / seconds;
  return {
    storage,
    dtype,
    batch,
    "weights MiB": mebibytes(bytes),
    "prefill tokens/s": Math.round((1000 * batch * PROMPT) / first),
    "decode tokens/s": digits(batch / seconds, 1),
    "step ms": digits(seconds * 1000, 2),
    "GB/s": digits(rate / 1e9, 1),
    "% of memory": Math.round((100 * rate) / bandwidth),
    "peak MiB": mebibytes(d.memory().bytesPeak),
    "stall ms": digits(delay.max / 1e6, 1),
    "99 % stall": digits(delay.percentile(99) / 1e6, 1),
  };
}
