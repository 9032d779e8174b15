// What greedy, drawn and searched answers have in common: the prompt is read once, then one recorded step for each token.
import { noGrad } from "../core/autograd.js";
import type { Capture } from "../core/device.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { KVCache } from "../nn/kv-cache.js";
import { roundingInputs } from "../ops/eight-bit.js";
import { sliceCopy } from "../ops/index.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { GenerationError } from "./logits.js";
import type { GenerationOptions } from "./options.js";

/** What is made of the logits (B,V) on the device before the host sees anything. */
export type Head = (logits: Tensor) => Tensor;

export interface Going {
  cache: KVCache;
  /** (B,1) i32: the tokens that the next step reads. */
  current: Tensor;
}

export interface Limits {
  batch: number;
  /** Tokens of a prompt, and what stands before them. */
  length: number;
  /** Tokens that are written at most. */
  steps: number;
  /** Slots of a cache for all of that. */
  size: number;
  ends: ReadonlySet<number>;
}

/** Throws E_GENERATION on options out of range and on a prompt that fills the context. */
export function limitsOf(llm: CausalLM, prompt: Prompt, options: GenerationOptions): Limits {
  const { maxNewTokens = 256, minNewTokens = 0, eosTokenId = llm.config.eosTokenIds, kvCache, activations, numReturnSequences } = options;
  if (kvCache !== undefined && kvCache !== "bf16" && kvCache !== "int8") throw new GenerationError("kvCache", '"bf16" or "int8"', kvCache);
  checkActivations(llm, activations);
  checkCount("maxNewTokens", maxNewTokens);
  checkCount("numReturnSequences", numReturnSequences);
  if (minNewTokens > maxNewTokens) throw new GenerationError("minNewTokens", `at most maxNewTokens, ${maxNewTokens}`, minNewTokens);
  const { batch, length: tokens } = sizeOf(prompt);
  const length = tokens + (llm.lead?.length ?? 0);
  const room = llm.config.maxPositions - length;
  if (room < 1)
    throw new GenerationError("the prompt", `shorter than the model's context of ${llm.config.maxPositions} tokens`, `${length} tokens`);
  const steps = Math.min(maxNewTokens, room);
  return { batch, length, steps, size: length + steps, ends: new Set(typeof eosTokenId === "number" ? [eosTokenId] : eosTokenId) };
}
export function checkCount(option: string, value: number | undefined): void {
  if (value !== undefined && !(Number.isInteger(value) && value >= 1)) throw new GenerationError(option, "an integer of at least 1", value);
}

/** Reads the prompt, or what the cache does not hold of it. */
export function prefill(llm: CausalLM, prompt: Prompt, cache: KVCache, head: Head): Tensor {
  return noGrad(() => scope(() => head(llm.forward(behind(prompt, cache.held), { cache, logits: "last" }).logits as Tensor)));
}
function behind({ inputIds, inputsEmbeds, beside, ...rest }: Prompt, held: number): Prompt {
  const media = beside && { beside: { ...beside, ...(beside.seen && { seen: beside.seen.map((row) => row.slice(held)) }) } };
  if (!held) return { ...rest, ...media, ...(inputIds && { inputIds }), ...(inputsEmbeds && { inputsEmbeds }) };
  const left = (all: Tensor) => sliceCopy(all, 1, held, (all.shape[1] as number) - held);
  if (inputsEmbeds) return { inputsEmbeds: left(inputsEmbeds), ...media };
  if (inputIds instanceof Tensor) return { inputIds: left(inputIds), ...media };
  return { inputIds: (inputIds ?? []).map((row) => Array.from(row).slice(held)), ...media };
}

/** A step that was recorded: replay() runs it, and `result` holds what the latest run made. */
export class Step {
  constructor(
    private readonly capture: Capture<Tensor>,
    private readonly eightBit: EightBit,
  ) {}
  get result(): Tensor {
    return this.capture.result;
  }
  replay(): void {
    this.capture.replay();
  }
  dispose(): void {
    if (!this.result.disposed) this.result.dispose();
    this.capture.dispose();
    this.eightBit?.dispose();
  }
}
/** The model's head where it is read in 8 bit. */
type EightBit = ReturnType<NonNullable<CausalLM["headInEightBit"]>>;

/** Records the step once: it is not run until replayed. Recording advances the cache's host side like a run. */
export function record(llm: CausalLM, { cache, current }: Going, head: Head, activations: "int8" | undefined): Step {
  const inputIds = current;
  const run = () => noGrad(() => scope(() => head(llm.forward({ inputIds }, { cache, logits: "last" }).logits as Tensor)));
  if (!activations) return new Step(llm.device.capture(run), undefined);
  const eightBit = llm.headInEightBit?.();
  let recorded: { result: Capture<Tensor>; products: number };
  try {
    recorded = roundingInputs(() => llm.device.capture(run), eightBit);
  } catch (error) {
    eightBit?.dispose();
    throw error;
  }
  const step = new Step(recorded.result, eightBit);
  if (recorded.products > Number(eightBit !== undefined)) return step;
  step.dispose();
  throw new GenerationError(
    "activations",
    "left out for a model without quantised weights",
    activations,
    'load it with quantization: { format: "nf4" }',
  );
}

function checkActivations(llm: CausalLM, activations: string | undefined): void {
  if (activations === undefined) return;
  if (activations !== "int8") throw new GenerationError("activations", '"int8", or nothing', activations);
  if (llm.device.name !== "cpu")
    throw new GenerationError("activations", `left out on "${llm.device.name}"`, activations, 'device "cpu" alone has such products');
}

/** Rows and positions of a prompt. Throws E_GENERATION where there are none. */
export function sizeOf({ inputIds, inputsEmbeds }: Prompt): { batch: number; length: number } {
  const given = inputsEmbeds ?? inputIds;
  const [batch, length] = given instanceof Tensor ? (given.shape as [number, number]) : [given?.length ?? 0, given?.[0]?.length ?? 0];
  if (!batch || !length)
    throw new GenerationError("inputIds or inputsEmbeds", "given, with at least one token", `${batch} rows of ${length}`);
  return { batch, length };
}

/** The ids of each row without its padding, which penalties look at; none where it is embedded already. */
export const idsOf = async (prompt: Prompt): Promise<number[][]> =>
  (await promptIds(prompt)).map((row, b) => unpadded(row, prompt.attentionMask?.[b]));
async function promptIds(prompt: Prompt): Promise<ArrayLike<number>[]> {
  const { batch, length } = sizeOf(prompt);
  const { inputIds } = prompt;
  if (!inputIds || prompt.inputsEmbeds) return Array.from({ length: batch }, () => []);
  if (!(inputIds instanceof Tensor)) return [...inputIds];
  const flat = await inputIds.data();
  return Array.from({ length: batch }, (_, b) => flat.subarray(b * length, (b + 1) * length));
}

const unpadded = (row: ArrayLike<number>, mask: ArrayLike<number> | undefined): number[] =>
  Array.from(row).filter((_, t) => !mask || mask[t]);
