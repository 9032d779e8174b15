// One training step of each stage over a random LLaMA in NF4: stage 1 trains a Perceiver resampler alone, stage 2 LoRA beside it; AdamW in 8 bit,
// as the recipes have it. FLOP/s counts the products that a step needs: through a frozen weight forward and dX, through a trained one dW too.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { LoraAdapter } from "../../lib/adapters/lora.js";
import { type Device, device, type Module, Tensor } from "../../lib/index.js";
import { type AnyMALBatch, AnyMALNetwork } from "../../lib/models/anymal.js";
import { ResamplerProjector } from "../../lib/models/bridges/resampler.js";
import type { LlamaConfig } from "../../lib/models/llama-config.js";
import { Weights } from "../../lib/nn/weights.js";
import type { Trainee } from "../../lib/train/trainee.js";
import { train } from "../../lib/train/trainer.js";
import { linearParameters, randomConfig, randomLlama } from "../random-llama.js";
import { digits, highestPeak, mebibytes, median, printHeader, printRow, type Row, type SuiteOptions } from "../suite.js";

/** AnyMAL's (arXiv 2309.16058, table 12), with a smaller resampler. */
const RESAMPLER = { form: "flamingo", dim: 512, depth: 2, heads: 8, dimHead: 64, latents: 64 } as const;
const CELLS = 257;
const LORA = { r: 64, alpha: 16, dropout: 0.05 };
const [BATCH, INSTRUCTION, RESPONSE] = [4, 24, 40];
const [WARM_UP, STEPS, SECONDS] = [2, 20, 5];

const WIDTHS = {
  stage: 5,
  dtype: 5,
  "step ms": 9,
  "tokens/s": 9,
  "GFLOP/s": 8,
  "% of peak": 9,
  "peak MiB": 9,
  "MiB after": 9,
  "stall ms": 9,
  "99 % stall": 10,
};

export default async function trainStep({ device: name, level, threads, size, filter }: SuiteOptions): Promise<Row[]> {
  const config = randomConfig(size);
  await using d = name === "cpu" ? device("cpu", { ...(level && { level }), ...(threads && { threads }) }) : device(name);
  console.log(
    `${d.describe()}; ${size}: ${digits(linearParameters(config) / 1e6, 0)} M linear weights in NF4, batch ${BATCH} × (${RESAMPLER.latents} media + ${INSTRUCTION + RESPONSE} text) tokens`,
  );
  printHeader(WIDTHS);
  const rows: Row[] = [];
  for (const dtype of ["bf16", "f32"] as const) {
    if (!dtype.includes(filter)) continue;
    const peak = await highestPeak(d, dtype);
    for (const stage of [1, 2] as const) {
      const row = await measure(d, config, dtype, stage, peak);
      rows.push(row);
      printRow(row, WIDTHS);
    }
  }
  return rows;
}

async function measure(d: Device, config: LlamaConfig, dtype: "f32" | "bf16", stage: 1 | 2, peak: number): Promise<Row> {
  const llm = randomLlama(d, config, "nf4", dtype);
  const projector = new ResamplerProjector(Weights.fresh({ device: d, dtype }), RESAMPLER, config.hiddenSize);
  const model = new AnyMALNetwork(llm, { image: projector });
  const lora = stage === 2 ? LoraAdapter.apply(llm, LORA) : undefined;
  model.train(); // after the branches are there: their dropout is part of a step
  const parameters = [...projector.namedParameters("projector"), ...(lora?.namedParameters() ?? [])];
  using features = Tensor.full([BATCH, CELLS, RESAMPLER.dim], 0.5, { device: d, dtype });
  const batch = batchOf(features, config.vocabSize);
  const trainee: Trainee<AnyMALBatch> = {
    parameters,
    *losses(window) {
      yield function* () {
        return (yield* model.forwardInPieces(window)).loss as Tensor;
      };
    },
    items: () => BATCH * (RESAMPLER.latents + INSTRUCTION + RESPONSE),
    training: () => undefined,
  };

  const times: number[] = [];
  const delay = monitorEventLoopDelay({ resolution: 1 });
  const began = performance.now();
  let last = began;
  // One step is on its way while another is reported, so the time of a step is that between two reports.
  const options = { steps: WARM_UP + STEPS, learningRate: 1e-4, maxGradNorm: 1, moments: "8bit" } as const;
  for await (const { step } of train(trainee, { next: () => batch }, options)) {
    const now = performance.now();
    if (step > WARM_UP) times.push((now - last) / 1000);
    last = now;
    if (step === WARM_UP) {
      d.resetPeak();
      delay.enable();
    }
    if (times.length >= 2 && now - began > SECONDS * 1000) break;
  }
  await d.synchronize();
  delay.disable();
  const { bytesInUse, bytesPeak } = d.memory();
  const loraWeights = lora ? sizeOf(Array.from(lora.namedParameters(), ([, tensor]) => tensor)) : 0;
  const flops = flopsPerStep(config, projector, loraWeights);
  const seconds = median(times);
  model.dispose();
  await d.synchronize();
  return {
    stage,
    dtype,
    "step ms": digits(seconds * 1000, 1),
    "tokens/s": Math.round((BATCH * (RESAMPLER.latents + INSTRUCTION + RESPONSE)) / seconds),
    "GFLOP/s": digits(flops / seconds / 1e9, 1),
    "% of peak": Math.round((100 * flops) / seconds / peak),
    "peak MiB": mebibytes(bytesPeak),
    "MiB after": mebibytes(bytesInUse),
    "stall ms": digits(delay.max / 1e6, 1),
    "99 % stall": digits(delay.percentile(99) / 1e6, 1),
  };
}

/** `<instruction> <media> <response>`; the response is scored. */
function batchOf(features: Tensor, vocabulary: number): AnyMALBatch {
  const ids = (count: number, seed: number) => Array.from({ length: count }, (_, i) => ((i + seed) * 7919) % vocabulary);
  return {
    rows: Array.from({ length: BATCH }, (_, item) => {
      const response = ids(RESPONSE, item + INSTRUCTION);
      return [{ ids: ids(INSTRUCTION, item) }, { modality: "image", item }, { ids: response, labels: response }];
    }),
    features: { image: features },
  };
}

const sizeOf = (tensors: readonly Tensor[]): number => tensors.reduce((sum, { size }) => sum + size, 0);

function flopsPerStep(config: LlamaConfig, projector: Module, loraWeights: number): number {
  const length = RESAMPLER.latents + INSTRUCTION + RESPONSE;
  const tokens = BATCH * length;
  const frozen = 4 * linearParameters(config) * tokens;
  const head = 4 * config.vocabSize * config.hiddenSize * BATCH * RESPONSE;
  // Two products of T × T/2 (causal) forward, four backward.
  const attention = 6 * config.layers * BATCH * length * length * config.heads * config.headDim;
  // Every weight of the resampler meets each latent; its keys and values also meet each cell.
  const { dim, depth, heads, dimHead, latents } = RESAMPLER;
  const matrices = projector.parameters().filter((tensor) => tensor.rank === 2);
  const keyValues = depth * 2 * dim * heads * dimHead;
  const resampler = 6 * BATCH * (sizeOf(matrices) * latents + keyValues * CELLS);
  return frozen + head + attention + resampler + 6 * loraWeights * tokens;
}
