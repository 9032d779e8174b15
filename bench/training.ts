// One stage of AnyMAL's training over a random LLaMA, step by step: the trainer's own loop, which a gate holds between two steps.

import { LoraAdapter } from "../lib/adapters/lora.js";
import { type Device, Tensor } from "../lib/index.js";
import { type AnyMALBatch, AnyMALNetwork } from "../lib/models/anymal.js";
import { ResamplerProjector } from "../lib/models/bridges/resampler.js";
import type { LlamaConfig } from "../lib/models/llama-config.js";
import { LoraLinear } from "../lib/nn/lora.js";
import { Weights } from "../lib/nn/weights.js";
import type { Trainee } from "../lib/train/trainee.js";
import { train } from "../lib/train/trainer.js";
import { now } from "./clock.js";
import { linearParameters, promptOf, randomLlama } from "./random-llama.js";

/** AnyMAL's (arXiv 2309.16058, table 12), with a smaller resampler. */
const RESAMPLER = { form: "flamingo", dim: 512, depth: 2, heads: 8, dimHead: 64 } as const;
/** One that an emulator is done with. */
const BRIEF_RESAMPLER = { ...RESAMPLER, dim: 32, depth: 1, heads: 1, dimHead: 32 } as const;
export const resamplerOf = ({ brief }: Batch) => (brief ? BRIEF_RESAMPLER : RESAMPLER);
const cellsOf = ({ brief }: Batch) => (brief ? 12 : 257);
const LORA = { r: 64, alpha: 16, dropout: 0.05 };

/** `rows` of `<instruction> <media> <response>`; the response is scored. In tokens. */
export interface Batch {
  rows: number;
  media: number;
  instruction: number;
  response: number;
  /** A picture of few cells, through a small resampler. */
  brief?: boolean;
}

/** Holds whoever passes until it is opened, once for each. */
class Gate {
  #open = (_: boolean) => {};
  #arrive = () => {};
  #reached = this.#next();

  pass(): Promise<boolean> {
    return new Promise((resolve) => {
      this.#open = resolve;
      this.#arrive();
    });
  }
  /** Somebody waits before it. */
  reached(): Promise<void> {
    return this.#reached;
  }
  open(on: boolean): void {
    this.#reached = this.#next();
    this.#open(on);
  }
  #next(): Promise<void> {
    return new Promise((resolve) => {
      this.#arrive = resolve;
    });
  }
}

export class Stage {
  readonly flops: number;
  readonly tokens: number;
  readonly #model: AnyMALNetwork;
  readonly #features: Tensor;
  readonly #steps: Promise<void>;
  readonly #gate = new Gate();

  constructor(
    readonly number: 1 | 2,
    private readonly device: Device,
    config: LlamaConfig,
    dtype: "f32" | "bf16",
    batch: Batch,
  ) {
    const llm = randomLlama(device, config, "nf4", dtype);
    const resampler = { ...resamplerOf(batch), latents: batch.media };
    const projector = new ResamplerProjector(Weights.fresh({ device, dtype }), resampler, config.hiddenSize);
    this.#model = new AnyMALNetwork(llm, { image: projector });
    const lora = number === 2 ? LoraAdapter.apply(llm, LORA) : undefined;
    this.#model.train();
    this.#checkDropout();
    const parameters = [...projector.namedParameters("projector"), ...(lora?.namedParameters() ?? [])];
    this.#features = Tensor.full([batch.rows, cellsOf(batch), resampler.dim], 0.5, { device, dtype });
    this.tokens = batch.rows * (batch.media + batch.instruction + batch.response);
    const loraWeights = lora ? sizeOf(Array.from(lora.namedParameters(), ([, tensor]) => tensor)) : 0;
    this.flops = flopsPerStep(config, batch, projector, loraWeights);
    this.#steps = this.#run(parameters, batchOf(batch, this.#features, config.vocabSize));
    this.#steps.catch(() => {}); // told where it is waited for
  }

  /** Seconds of a step, until the device has done all of it. */
  async sample(): Promise<number> {
    await Promise.race([this.#gate.reached(), this.#steps]);
    await this.device.synchronize();
    const start = now();
    this.#gate.open(true);
    await Promise.race([this.#gate.reached(), this.#steps]); // all is enqueued; a training that fails rejects
    await this.device.synchronize();
    return now() - start;
  }

  async end(): Promise<void> {
    await Promise.race([this.#gate.reached(), this.#steps]);
    this.#gate.open(false);
    await this.#steps;
    this.#model.dispose();
    this.#features.dispose();
    await this.device.synchronize();
  }

  async #run(parameters: [string, Tensor][], batch: AnyMALBatch): Promise<void> {
    const model = this.#model;
    const trainee: Trainee<AnyMALBatch> = {
      parameters,
      *losses(window) {
        yield function* () {
          return (yield* model.forwardInPieces(window)).loss as Tensor;
        };
      },
      items: () => this.tokens,
      training: () => undefined, // on all the time
    };
    const ends = new AbortController();
    const next = async () => {
      if (!(await this.#gate.pass())) ends.abort();
      ends.signal.throwIfAborted();
      return batch;
    };
    const options = { steps: Number.MAX_SAFE_INTEGER, learningRate: 1e-4, maxGradNorm: 1, moments: "8bit", signal: ends.signal } as const;
    for await (const _ of train(trainee, { next }, options));
  }

  /** A figure with dropout off would be of another recipe. */
  #checkDropout(): void {
    const branches = this.#model.modules().filter((module) => module instanceof LoraLinear);
    const on = branches.every(({ training, dropout }) => training && dropout === LORA.dropout);
    if (!on || (this.number === 2) !== branches.length > 0) throw new Error("train-step: LoRA's dropout is not on");
  }
}

function batchOf({ rows, instruction, response }: Batch, features: Tensor, vocabulary: number): AnyMALBatch {
  return {
    rows: Array.from({ length: rows }, (_, item) => {
      const answer = promptOf(response, vocabulary, item + 1);
      return [{ ids: promptOf(instruction, vocabulary, item) }, { modality: "image", item }, { ids: answer, labels: answer }];
    }),
    features: { image: features },
  };
}

const sizeOf = (tensors: readonly Tensor[]): number => tensors.reduce((sum, { size }) => sum + size, 0);

/** The products that a step needs: through a frozen weight forward and dX, through a trained one dW too. */
function flopsPerStep(config: LlamaConfig, batch: Batch, projector: ResamplerProjector, loraWeights: number): number {
  const { rows, media, instruction, response } = batch;
  const length = media + instruction + response;
  const tokens = rows * length;
  const frozen = 4 * linearParameters(config) * tokens;
  const head = 4 * config.vocabSize * config.hiddenSize * rows * response;
  // Two products of T × T/2 (causal) forward, four backward.
  const attention = 6 * config.layers * rows * length * length * config.heads * config.headDim;
  // Every weight of the resampler meets each latent; its keys and values also meet each cell.
  const { dim, depth, heads, dimHead } = resamplerOf(batch);
  const matrices = projector.parameters().filter((tensor) => tensor.rank === 2);
  const keyValues = depth * 2 * dim * heads * dimHead;
  const resampler = 6 * rows * (sizeOf(matrices) * media + keyValues * cellsOf(batch));
  return frozen + head + attention + resampler + 6 * loraWeights * tokens;
}
