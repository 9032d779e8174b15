// Prefill once, then one recorded decode step per token. The host sees token ids (and logits, when something samples from them); positions,
// cache and the token fed back live on the device.
import { noGrad } from "../core/autograd.js";
import type { Capture } from "../core/device.js";
import { checkOptions } from "../core/options.js";
import { scope } from "../core/scope.js";
import { Tensor, type TensorData } from "../core/tensor.js";
import { inTurns, type Pieces } from "../core/turns.js";
import type { KVCache } from "../nn/kv-cache.js";
import { roundingInputs } from "../ops/eight-bit.js";
import { argmax, type QuantizedOperand, sliceCopy } from "../ops/index.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { GenerationError } from "./logits.js";
import { type PrefixCache, Seeing } from "./prefix-cache.js";
import { SAMPLER_KEYS, Sampler, type SamplerOptions } from "./sampler.js";

export interface GenerationOptions extends SamplerOptions {
  /** Default 256. */
  maxNewTokens?: number | undefined;
  /** A row ends after one of these. Default: the model's own. */
  eosTokenId?: number | readonly number[] | undefined;
  /** Told of every step's tokens as generateTokens yields them, the ending ones too. */
  onTokens?: ((tokens: readonly (number | undefined)[]) => void) | undefined;
  signal?: AbortSignal | undefined;
  /** Of a conversation, one row: what of the prompt was read before with the same cache is not read again. */
  past?: PrefixCache | undefined;
  /**
   * What keys and values are kept as. Default: the model's dtype. "int8": codes with one scale for each position and head, half of bf16's memory and
   * traffic, for logits that drift by a hundredth of what they vary by (llama.cpp's --cache-type-k q8_0).
   */
  kvCache?: "bf16" | "int8" | undefined;
  /**
   * "int8": layers with quantised weights round what they read to 8 bit, 64 numbers to one scale, and multiply integers, as llama.cpp does, for every
   * token that is written; the head is read in 8 bit then, from a copy that lasts as long as the answer takes (a byte for each of its weights). The prompt is
   * read exactly. Faster for a few rows, for logits that drift by some hundredths of what they vary by. The CPU's alone. Default: exact.
   */
  activations?: "int8" | undefined;
}

/** Every key of GenerationOptions. */
export const GENERATION_KEYS: readonly string[] = [
  ...SAMPLER_KEYS,
  "maxNewTokens",
  "eosTokenId",
  "onTokens",
  "signal",
  "past",
  "kvCache",
  "activations",
];

/** What other libraries call an option, or have and this one does not. */
const OTHERS: Readonly<Record<string, string>> = {
  maxLength: "maxNewTokens counts what is written, without the prompt",
  maxTokens: 'did you mean "maxNewTokens"?',
  minLength: "minNewTokens counts what is written, without the prompt",
  doSample: "an answer is drawn where temperature, topK, topP or minP is given, and greedy otherwise",
  numBeams: "beam search is not supported: answers are greedy or drawn",
  numReturnSequences: "pass the prompt several times",
  typicalP: "take topP or minP",
  badWordsIds: "suppressTokens takes single tokens",
  frequencyPenalty: "take repetitionPenalty",
  presencePenalty: "take repetitionPenalty",
  stop: "here are ids and no text: eosTokenId ends a row",
  stopStrings: 'did you mean "stop"?',
  padTokenId: "rows are padded by attentionMask",
  abortSignal: 'did you mean "signal"?',
  cacheImplementation: 'did you mean kvCache: "int8"?',
  cacheTypeK: 'did you mean kvCache: "int8"?',
  activationType: 'did you mean activations: "int8"?',
};

/** Throws E_GENERATION on an option that is not known, with the one that was probably meant. */
export function checkGeneration(options: object | undefined, known: readonly string[] = GENERATION_KEYS): void {
  const fail = (key: string, next: string) => new GenerationError("options", "known ones", `"${key}"`, next);
  checkOptions("generate", options, known, { others: OTHERS, fail });
}

export type { CausalLM, Prompt } from "./causal-lm.js";

interface State {
  cache: KVCache;
  /** (B,1) i32: the tokens that the next step reads. */
  current: Tensor;
  ids: number[][];
  running: boolean[];
}

/**
 * One entry per step: the new token of each row, undefined for rows that have ended. The ending token itself is yielded.
 * Aborting throws the signal's reason; what was yielded stays valid.
 */
export async function* generateTokens(
  llm: CausalLM,
  prompt: Prompt,
  options: GenerationOptions = {},
): AsyncGenerator<(number | undefined)[]> {
  checkGeneration(options);
  const { maxNewTokens = 256, eosTokenId = llm.config.eosTokenIds, onTokens, signal, past, kvCache, activations, ...sampling } = options;
  if (kvCache !== undefined && kvCache !== "bf16" && kvCache !== "int8") throw new GenerationError("kvCache", '"bf16" or "int8"', kvCache);
  checkActivations(llm, activations);
  if (!(Number.isInteger(maxNewTokens) && maxNewTokens >= 1))
    throw new GenerationError("maxNewTokens", "an integer of at least 1", maxNewTokens);
  const ends = new Set(typeof eosTokenId === "number" ? [eosTokenId] : eosTokenId);
  const sampler = new Sampler(sampling, ends);
  if ((sampling.minNewTokens ?? 0) > maxNewTokens)
    throw new GenerationError("minNewTokens", `at most maxNewTokens, ${maxNewTokens}`, sampling.minNewTokens);
  const { batch, length: tokens } = sizeOf(prompt);
  const length = tokens + (llm.lead?.length ?? 0);
  const total = length + maxNewTokens;
  const room = llm.config.maxPositions - length;
  if (room < 1)
    throw new GenerationError("the prompt", `shorter than the model's context of ${llm.config.maxPositions} tokens`, `${length} tokens`);
  signal?.throwIfAborted();
  const ids = (await promptIds(prompt)).map((row, b) => unpadded(row, prompt.attentionMask?.[b]));
  const positions = past ? positionsOf(prompt, ids) : [];
  const size = Math.min(total, llm.config.maxPositions);
  const cache = past
    ? past.take(llm, positions, size, { beside: prompt.beside !== undefined, type: kvCache, activations })
    : llm.createCache(batch, size, kvCache);
  const fed: (number | undefined)[] = [];
  let output: Tensor | undefined;
  let step: Capture<Tensor> | undefined;
  let head: ReturnType<NonNullable<CausalLM["headInEightBit"]>>;
  let known = true; // what the cache holds
  try {
    using current = Tensor.from(new Int32Array(batch), [batch, 1], { device: llm.device, dtype: "i32" });
    const state: State = { cache, current, ids, running: new Array<boolean>(batch).fill(true) };
    output = prefill(llm, prompt, cache, sampler.plain);
    for (let made = 0; made < Math.min(maxNewTokens, room); ++made) {
      const tokens = await choose(output, sampler, state, made);
      signal?.throwIfAborted();
      for (const [b, token] of tokens.entries()) if (token !== undefined && ends.has(token)) state.running[b] = false;
      const last = !state.running.some(Boolean) || made + 1 === Math.min(maxNewTokens, room);
      if (!last) {
        // The device is at the next step while the caller looks at this one's tokens. Who leaves the loop has had it begun in vain.
        current.write(tokens.map((token) => token ?? 0));
        fed.push(tokens[0]);
        if (made === 0) {
          output.dispose();
          head = activations && llm.headInEightBit?.();
          step = record(llm, state, sampler.plain, activations, head);
          output = step.result;
        } else cache.replayed(1);
        (step as Capture<Tensor>).replay();
      }
      onTokens?.(tokens);
      yield tokens;
      if (last) return;
    }
  } catch (error) {
    known = signal?.aborted ?? false;
    throw error;
  } finally {
    if (output && !output.disposed) output.dispose();
    step?.dispose();
    head?.dispose();
    if (past) past.keep(cache, known ? [...positions, ...seeing(prompt, fed)] : undefined);
    else cache.dispose();
  }
}

/** All new tokens of each row, the ending token left out. */
export async function generate(llm: CausalLM, prompt: Prompt, options: GenerationOptions = {}): Promise<number[][]> {
  const ends = options.eosTokenId ?? llm.config.eosTokenIds;
  const isEnd = (token: number) => (typeof ends === "number" ? token === ends : ends.includes(token));
  const rows: number[][] = Array.from({ length: sizeOf(prompt).batch }, () => []);
  for await (const tokens of generateTokens(llm, prompt, options)) {
    for (const [b, token] of tokens.entries()) if (token !== undefined && !isEnd(token)) rows[b]?.push(token);
  }
  return rows;
}

/** Reads the prompt, or what the cache does not hold of it. */
function prefill(llm: CausalLM, prompt: Prompt, cache: KVCache, plain: boolean): Tensor {
  return noGrad(() => scope(() => picked(llm.forward(behind(prompt, cache.held), { cache, logits: "last" }).logits as Tensor, plain)));
}
function behind({ inputIds, inputsEmbeds, beside, ...rest }: Prompt, held: number): Prompt {
  const media = beside && { beside: { ...beside, ...(beside.seen && { seen: beside.seen.map((row) => row.slice(held)) }) } };
  if (!held) return { ...rest, ...media, ...(inputIds && { inputIds }), ...(inputsEmbeds && { inputsEmbeds }) };
  const left = (all: Tensor) => sliceCopy(all, 1, held, (all.shape[1] as number) - held);
  if (inputsEmbeds) return { inputsEmbeds: left(inputsEmbeds), ...media };
  if (inputIds instanceof Tensor) return { inputIds: left(inputIds), ...media };
  return { inputIds: (inputIds ?? []).map((row) => Array.from(row).slice(held)), ...media };
}

/** What stands at each position of a prompt of one row. */
function positionsOf(prompt: Prompt, [ids, ...others]: readonly (readonly number[])[]): readonly unknown[] {
  const { length } = sizeOf(prompt);
  const positions = prompt.positions ?? ids ?? [];
  if (others.length || positions.length !== length)
    throw new GenerationError(
      "a prompt with a past",
      "one row, not padded, and what stands at each of its positions",
      `${others.length + 1} rows, ${positions.length} of ${length} positions`,
    );
  return positions.map((what, t) => seen(prompt, what, t));
}

/** What the host knows of `what`, which sees what the token at `at` of the only row does. */
function seen({ beside }: Prompt, what: unknown, at: number): unknown {
  if (!beside) return what;
  const { start, end } = beside.seen?.[0]?.[at] ?? { start: 0, end: beside.rows.shape[1] as number };
  // Media of which nobody says what they are might be any.
  return start < end ? new Seeing(what, beside.of ? [...new Set(beside.of.slice(start, end))] : [{}]) : what;
}
/** Tokens that were written see what the last one of the prompt saw. */
const seeing = (prompt: Prompt, tokens: readonly unknown[]): unknown[] =>
  tokens.map((token) => seen(prompt, token, sizeOf(prompt).length - 1));

/** Records the step once: it is not run until replayed. Recording advances the cache's host side like a run. */
function record(
  llm: CausalLM,
  { cache, current }: State,
  plain: boolean,
  activations: "int8" | undefined,
  head: QuantizedOperand | undefined,
): Capture<Tensor> {
  const inputIds = current;
  const run = () => noGrad(() => scope(() => picked(llm.forward({ inputIds }, { cache, logits: "last" }).logits as Tensor, plain)));
  if (!activations) return llm.device.capture(run);
  const { result, products } = roundingInputs(() => llm.device.capture(run), head);
  if (products > Number(head !== undefined)) return result;
  result.result.dispose();
  result.dispose();
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

/** (B) i32 of the most probable tokens where nothing else is asked of the logits, else the logits (B,V). */
const picked = (logits: Tensor, plain: boolean): Tensor => (plain ? argmax(logits) : logits);

async function choose(output: Tensor, sampler: Sampler, state: State, made: number): Promise<(number | undefined)[]> {
  return inTurns(chosen(await output.data(), sampler, state, made));
}

function* chosen(values: TensorData, sampler: Sampler, { ids, running }: State, made: number): Pieces<(number | undefined)[]> {
  const width = values.length / running.length;
  const tokens: (number | undefined)[] = [];
  for (const [b, runs] of running.entries()) {
    const row = ids[b] as number[];
    if (!runs) {
      tokens.push(undefined);
      continue;
    }
    const token = sampler.plain
      ? (values[b] as number)
      : yield* sampler.pieces((values as Float32Array).slice(b * width, (b + 1) * width), row, b, made);
    row.push(token);
    tokens.push(token);
    if (!sampler.plain) yield;
  }
  return tokens;
}

/** Rows and positions of a prompt. Throws E_GENERATION where there are none. */
export function sizeOf({ inputIds, inputsEmbeds }: Prompt): { batch: number; length: number } {
  const given = inputsEmbeds ?? inputIds;
  const [batch, length] = given instanceof Tensor ? (given.shape as [number, number]) : [given?.length ?? 0, given?.[0]?.length ?? 0];
  if (!batch || !length)
    throw new GenerationError("inputIds or inputsEmbeds", "given, with at least one token", `${batch} rows of ${length}`);
  return { batch, length };
}

/** The rows of a prompt, which penalties look at; empty ones where it is embedded already. */
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
