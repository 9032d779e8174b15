// Prefill once, then one recorded decode step per token. The host sees token ids (and logits, when something samples from them); positions,
// cache and the token fed back live on the device.
import { scope } from "../core/scope.js";
import { Tensor, type TensorData } from "../core/tensor.js";
import { inTurns, type Pieces } from "../core/turns.js";
import type { KVCache } from "../nn/kv-cache.js";
import { argmax, gatherRows } from "../ops/index.js";
import { beamSearch, beamsOf, stepsOf } from "./beams.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { GenerationError } from "./logits.js";
import { checkGeneration, type GenerationOptions } from "./options.js";
import { type PrefixCache, Seeing } from "./prefix-cache.js";
import { Sampler } from "./sampler.js";
import { type Going, idsOf, limitsOf, prefill, record, type Step, sizeOf } from "./steps.js";

export type { CausalLM, Prompt } from "./causal-lm.js";
export { checkGeneration, GENERATION_KEYS, type GenerationOptions } from "./options.js";
export { sizeOf } from "./steps.js";

interface State extends Going {
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
  const { numBeams, lengthPenalty, earlyStopping, ...plain } = options;
  if (beamsOf(options) > 1) {
    yield* stepsOf(await beamSearch(llm, prompt, options), options.onTokens);
    return;
  }
  const { maxNewTokens, eosTokenId, onTokens, signal, past, kvCache, activations, numReturnSequences: each = 1, ...sampling } = plain;
  const limits = limitsOf(llm, prompt, options);
  const { ends, size, steps } = limits;
  const sampler = new Sampler(sampling, ends);
  if (each > 1) checkSeveral(sampler, past);
  signal?.throwIfAborted();
  const ids = (await idsOf(prompt)).flatMap((row) => Array.from({ length: each }, () => [...row]));
  const positions = past ? positionsOf(prompt, ids) : [];
  const batch = limits.batch * each;
  let cache = past
    ? past.take(llm, positions, size, { beside: prompt.beside !== undefined, type: kvCache, activations })
    : llm.createCache(limits.batch, size, kvCache);
  const fed: (number | undefined)[] = [];
  let output: Tensor | undefined;
  let step: Step | undefined;
  let known = true; // what the cache holds
  try {
    using current = Tensor.from(new Int32Array(batch), [batch, 1], { device: llm.device, dtype: "i32" });
    const head = (logits: Tensor) => (sampler.plain ? argmax(logits) : logits);
    output = prefill(llm, prompt, cache, head);
    if (each > 1) [cache, output] = spread({ cache, output }, each);
    const state: State = { cache, current, ids, running: new Array<boolean>(batch).fill(true) };
    for (let made = 0; made < steps; ++made) {
      const tokens = await choose(output, sampler, state, made);
      signal?.throwIfAborted();
      for (const [b, token] of tokens.entries()) if (token !== undefined && ends.has(token)) state.running[b] = false;
      const last = !state.running.some(Boolean) || made + 1 === steps;
      if (!last) {
        // The device is at the next step while the caller looks at this one's tokens. Who leaves the loop has had it begun in vain.
        current.write(tokens.map((token) => token ?? 0));
        fed.push(tokens[0]);
        if (made === 0) {
          output.dispose();
          step = record(llm, state, head, activations);
          output = step.result;
        } else cache.replayed(1);
        (step as Step).replay();
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
    if (past) past.keep(cache, known ? [...positions, ...seeing(prompt, fed)] : undefined);
    else cache.dispose();
  }
}

function checkSeveral(sampler: Sampler, past: PrefixCache | undefined): void {
  const several = "numReturnSequences above 1";
  if (sampler.greedy)
    throw new GenerationError(several, "left out of greedy answers, which are all alike", "it", "draw (temperature), or take numBeams");
  if (past) throw new GenerationError(several, "left out with a past, which is of one answer", "it", "ask without");
}

/** Each row of a prompt that was read as often as it is answered. What was is disposed. */
function spread({ cache, output }: { cache: KVCache; output: Tensor }, each: number): [KVCache, Tensor] {
  const rows = Array.from({ length: cache.batch * each }, (_, i) => Math.floor(i / each));
  const next = cache.chosen(rows, cache.length);
  cache.dispose();
  const logits = scope(() => gatherRows(output, Tensor.from(Int32Array.from(rows), [rows.length], { device: output.device })));
  output.dispose();
  return [next, logits];
}

/** All new tokens of each answer, the ending token left out: numReturnSequences for each row of the prompt. */
export async function generate(llm: CausalLM, prompt: Prompt, options: GenerationOptions = {}): Promise<number[][]> {
  const ends = options.eosTokenId ?? llm.config.eosTokenIds;
  const isEnd = (token: number) => (typeof ends === "number" ? token === ends : ends.includes(token));
  const rows: number[][] = Array.from({ length: sizeOf(prompt).batch * (options.numReturnSequences ?? 1) }, () => []);
  for await (const tokens of generateTokens(llm, prompt, options)) {
    for (const [b, token] of tokens.entries()) if (token !== undefined && !isEnd(token)) rows[b]?.push(token);
  }
  return rows;
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
