// Generation over a random LLaMA in each storage: a recorded step per token, read back token by token as an application does, beside llama.cpp with Q4_0, on a
// card beside PyTorch. A step reads every weight but the embedding table, and the keys and values so far: that is held against what memory gives. On the CPU
// quantised weights also with inputs of 8 bit, beside how far logits drift from the exact ones.

import { monitorEventLoopDelay } from "node:perf_hooks";
import { generateTokens } from "../../lib/generate/generate.js";
import { noGrad, type Tensor } from "../../lib/index.js";
import type { LlamaForCausalLM } from "../../lib/models/llama.js";
import { roundingInputs } from "../../lib/ops/eight-bit.js";
import { now } from "../clock.js";
import { contest, type Figures, rounded, type Side } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import {
  linearParameters,
  promptOf,
  randomConfig,
  randomLlama,
  roundedWeightBytes,
  type Storage,
  shapeOf,
  weightBytes,
} from "../random-llama.js";
import type { Prepared } from "../rivals/process.js";
import { mebibytes, median, type SuiteOptions } from "../suite.js";

const STORAGES: readonly [Storage, "f32" | "bf16"][] = [
  ["nf4", "bf16"],
  ["int8", "bf16"],
  ["bf16", "bf16"],
  ["f32", "f32"],
];
const QUANTISED: ReadonlySet<Storage> = new Set<Storage>(["nf4", "int8"]);
const ROWS = [1, 8];
const LENGTHS = { prompt: 128, steps: 16 };
/** Of the tiny size, which is for trying. */
const BRIEF = { prompt: 8, steps: 2 };
const DRIFT = 8; // steps
const TURNS = 5;
/** Of what stands beside nobody: each is of many steps. */
const ALONE = 2;

export default function decode(options: SuiteOptions): Promise<Figures[]> {
  const config = randomConfig(options.size);
  return atEachLevel(options, async (place, report) => {
    for (const [storage, dtype] of STORAGES.filter(([name]) => name.includes(options.filter))) {
      const llm = randomLlama(place.device, config, storage, dtype);
      let one = 0; // milliseconds of one row's step
      for (const rows of ROWS) {
        const beside = storage === "nf4" ? await rivalsOf(options, place, llm, rows) : []; // in 4 bit: the others are told for themselves
        const figures = await measure(options, place, llm, storage, rows, beside);
        for (const { more } of figures)
          more["over one row's step"] = rounded((more["step ms"] as number) / (one || (more["step ms"] as number)));
        one ||= figures[0]?.more["step ms"] ?? 0;
        report(figures);
        if (QUANTISED.has(storage) && place.device.name === "cpu")
          report(await measure(options, place, llm, storage, rows, beside, "int8"));
        for (const side of beside.flat()) await side.drop();
      }
      llm.dispose();
      await place.device.synchronize();
    }
  });
}

const lengthsOf = ({ size }: SuiteOptions) => (size === "tiny" ? BRIEF : LENGTHS);

const TORCH = { plain: "bf16", transformers: "Hugging Face's model, bf16", bitsandbytes: "Hugging Face's model, NF4 of bitsandbytes" };
/** Bytes of a dense model that may stand on a card beside ours. */
const MOST_DENSE = 40e9;

/** Of llama.cpp the fastest counts; of PyTorch each stands for itself. */
async function rivalsOf(options: SuiteOptions, { device }: Place, { config }: LlamaForCausalLM, rows: number): Promise<Prepared[][]> {
  const request = { what: "decode", rows, ...lengthsOf(options) };
  if (device.name === "cpu") return [(await options.rivals?.llama(options.size, request)) ?? []];
  const ways = (["plain", "transformers", "bitsandbytes"] as const).filter(
    (as) => as === "bitsandbytes" || 2 * linearParameters(config) < MOST_DENSE,
  );
  const asked = ways.map((as) => [{ ...request, shape: shapeOf(config), as }, TORCH[as]] as const);
  return ((await options.rivals?.torch(...asked)) ?? []).map((side) => [side]);
}

type Activations = "int8" | undefined;

/** Seconds of each step behind the first token. */
async function steps(options: SuiteOptions, llm: LlamaForCausalLM, rows: number, activations: Activations): Promise<number[]> {
  const { prompt, steps } = lengthsOf(options);
  const inputIds = Array.from({ length: rows }, (_, row) => promptOf(prompt, llm.config.vocabSize, row));
  const times: number[] = [];
  let last = now();
  for await (const _ of generateTokens(llm, { inputIds }, { maxNewTokens: steps + 1, eosTokenId: [], activations })) {
    const at = now();
    times.push(at - last);
    last = at;
  }
  return times.slice(1);
}

async function measure(
  options: SuiteOptions,
  { device, level, peaks }: Place,
  llm: LlamaForCausalLM,
  storage: Storage,
  rows: number,
  beside: readonly (readonly Side[])[],
  activations?: Activations,
): Promise<Figures[]> {
  const { config, dtype } = llm;
  const lengths = lengthsOf(options);
  const cached = lengths.prompt + lengths.steps / 2; // positions, on the average
  const keysAndValues = 2 * config.layers * rows * cached * config.kvHeads * config.headDim * (dtype === "f32" ? 4 : 2);
  const weights = activations ? roundedWeightBytes(llm) : weightBytes(llm);
  const bytes = weights + keysAndValues;
  await device.synchronize();
  device.resetPeak();
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const sample = async () => {
    delay.enable();
    const taken = median(await steps(options, llm, rows, activations));
    delay.disable();
    return taken;
  };
  const far = activations ? await drift(llm) : {};
  const told = {
    case: `${storage}, ${rows} ${rows > 1 ? "rows" : "row"}${activations ? `, activations ${activations}` : ""}`,
    level,
    unit: "tokens/s",
    of: (seconds: number) => rows / seconds,
    limit: { name: "memory bandwidth", seconds: bytes / peaks.bandwidth },
    more: (seconds: number) => ({
      "step ms": 1000 * seconds,
      "GB/s": bytes / seconds / 1e9,
      "weights MiB": mebibytes(weights),
      "peak MiB": mebibytes(device.memory().bytesPeak),
      "99 % of the event loop's delays, ms": delay.percentile(99) / 1e6,
      ...far,
    }),
  };
  return contest(told, sample, beside, Math.min(options.turns ?? TURNS, beside.flat().length ? Infinity : ALONE));
}

/** How far logits of steps with inputs of 8 bit are from those of exact ones, as a share of what these vary by. */
async function drift(llm: LlamaForCausalLM): Promise<Record<string, number>> {
  const prompt = promptOf(DRIFT, llm.config.vocabSize);
  const logitsOf = async (rounded: boolean) => {
    using cache = llm.createCache(1, 2 * DRIFT);
    using head = rounded ? llm.headInEightBit() : undefined;
    const logits: Float32Array[] = [];
    for (const ids of [prompt, ...prompt.map((id) => [id])]) {
      const step = () => noGrad(() => llm.forward({ inputIds: [ids] }, { cache, logits: "last" }).logits as Tensor);
      using row = rounded && ids.length === 1 ? roundingInputs(step, head).result : step();
      if (ids.length === 1) logits.push((await row.data()) as Float32Array);
    }
    return logits.flatMap((row) => Array.from(row));
  };
  const [exact, got] = [await logitsOf(false), await logitsOf(true)];
  const root = (f: (v: number, i: number) => number) => Math.sqrt(exact.reduce((sum, v, i) => sum + f(v, i) ** 2, 0) / exact.length);
  const middle = exact.reduce((sum, v) => sum + v, 0) / exact.length;
  const spread = root((v) => v - middle);
  const most = exact.reduce((sum, v, i) => Math.max(sum, Math.abs((got[i] as number) - v)), 0);
  return {
    "logits drift, % of their spread": rounded((100 * root((v, i) => (got[i] as number) - v)) / spread),
    "at most": rounded((100 * most) / spread),
  };
}
