// How probable a model holds texts that are given: the prompt is read once, each continuation goes on in a copy of what was read, and the device gives back
// one number for each token.
import { noGrad } from "../core/autograd.js";
import { checkOptions, optionNames } from "../core/options.js";
import { scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import type { KVCache } from "../nn/kv-cache.js";
import { argmax, cast, concat, gatherRows, softmaxCrossEntropy } from "../ops/index.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { sizeOf } from "./generate.js";
import { GenerationError } from "./logits.js";

export interface ScoreOptions {
  /** How many continuations are read together at most. Default 32. */
  batch?: number | undefined;
  signal?: AbortSignal | undefined;
}
const OPTIONS = optionNames<ScoreOptions>({ batch: true, signal: true });

/** Of one continuation, natural logarithms. */
export interface ContinuationScore {
  tokens: readonly number[];
  /** Of each token, given the prompt and the tokens before it. */
  logProbs: readonly number[];
  /** Of all of them: the sum. */
  logProb: number;
  /** Is each token the most probable one at its place? Greedy answers begin with these then. */
  greedy: boolean;
}

/** Continuation number `i` of row `row`. */
interface Wanted {
  row: number;
  tokens: readonly number[];
}
/** Positions of continuations that go through the head together: its rows are as wide as the vocabulary. */
const POSITIONS = 512;

/**
 * Of each row of the prompt, its continuations: `continuations[b]` holds any number of lists of ids, none of them empty. The prompt is read once; rows may be
 * padded by attentionMask. Throws E_GENERATION on ids that the model has not, and where prompt and continuation do not fit its context.
 */
export async function scoreContinuations(
  llm: CausalLM,
  prompt: Prompt,
  continuations: readonly (readonly ArrayLike<number>[])[],
  options: ScoreOptions = {},
): Promise<ContinuationScore[][]> {
  const { batch, signal } = checkScoring("logProbs", options);
  const size = sizeOf(prompt);
  const wanted = wantedOf(llm, continuations, size);
  signal?.throwIfAborted();
  if (!wanted.length) return continuations.map(() => []);
  const longest = Math.max(...wanted.map(({ tokens }) => tokens.length));
  const room = size.length + (llm.lead?.length ?? 0) + longest - 1;
  const scores: ContinuationScore[] = [];
  using cache = llm.createCache(size.batch, room);
  using last = noGrad(() => scope(() => llm.forward(prompt, { cache, logits: "last" }).logits as Tensor));
  for (const some of chunks(wanted, batch)) {
    scores.push(...(await scored(llm, { cache, last }, some)));
    signal?.throwIfAborted();
  }
  return continuations.map((own) => scores.splice(0, own.length));
}

/**
 * Of each row of the prompt, the logarithm of how probable each of `tokens` is as the next one: P(yes) against P(no) without a word being written.
 * Throws E_GENERATION on ids that the model has not.
 */
export async function nextLogProbs(
  llm: CausalLM,
  prompt: Prompt,
  tokens: readonly number[],
  options: Pick<ScoreOptions, "signal"> = {},
): Promise<number[][]> {
  const { signal } = checkScoring("nextLogProbs", options);
  const { batch, length } = sizeOf(prompt);
  if (!tokens.length) throw new GenerationError("tokens", "at least one id", "none");
  checkIds(llm, tokens, "tokens");
  checkRoom(llm, length, 1);
  signal?.throwIfAborted();
  using losses = noGrad(() =>
    scope(() => {
      using cache = llm.createCache(batch, length + (llm.lead?.length ?? 0));
      const logits = exact(llm.forward(prompt, { cache, logits: "last" }).logits as Tensor);
      return concat(
        tokens.map((token) => lossOf(logits, new Array<number>(batch).fill(token))),
        0,
      );
    }),
  );
  const values = await losses.data();
  signal?.throwIfAborted();
  return Array.from({ length: batch }, (_, b) => tokens.map((_, i) => logOf(values[i * batch + b] as number)));
}

function checkScoring(name: string, options: ScoreOptions): { batch: number; signal: AbortSignal | undefined } {
  const fail = (key: string, next: string) => new GenerationError("options", "known ones", `"${key}"`, next);
  checkOptions(name, options, OPTIONS, { fail });
  const { batch = 32, signal } = options;
  if (!(Number.isInteger(batch) && batch >= 1)) throw new GenerationError("batch", "an integer of at least 1", batch);
  return { batch, signal };
}

function wantedOf(
  llm: CausalLM,
  continuations: readonly (readonly ArrayLike<number>[])[],
  size: { batch: number; length: number },
): Wanted[] {
  if (continuations.length !== size.batch)
    throw new GenerationError("continuations", `${size.batch} lists, one for each row of the prompt`, continuations.length);
  return continuations.flatMap((own, row) =>
    own.map((given) => {
      const tokens = Array.from(given);
      if (!tokens.length) throw new GenerationError(`continuations of row ${row}`, "lists of at least one id", "an empty one");
      checkIds(llm, tokens, `continuations of row ${row}`);
      checkRoom(llm, size.length, tokens.length);
      return { row, tokens };
    }),
  );
}

function checkIds({ config }: CausalLM, tokens: readonly number[], what: string): void {
  const wrong = tokens.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < config.vocabSize));
  if (wrong < 0) return;
  const next = "check that tokenizer and model belong together";
  throw new GenerationError(what, `ids from 0 to ${config.vocabSize - 1}`, tokens[wrong], next);
}
function checkRoom(llm: CausalLM, length: number, more: number): void {
  const most = llm.config.maxPositions - (llm.lead?.length ?? 0);
  if (length + more > most)
    throw new GenerationError("prompt and continuation", `at most ${most} tokens, the model's context`, `${length} + ${more}`);
}

/** As many as may be read together: padded to the longest of them they have POSITIONS positions, unless one alone has more. */
function* chunks(wanted: readonly Wanted[], batch: number): Generator<readonly Wanted[]> {
  let from = 0;
  for (let to = 1; to <= wanted.length; ++to) {
    const longest = Math.max(...wanted.slice(from, to + 1).map(({ tokens }) => tokens.length));
    if (to < wanted.length && to - from < batch && (to + 1 - from) * longest <= POSITIONS) continue;
    yield wanted.slice(from, to);
    from = to;
  }
}

/** What was read of the prompt's rows, and the logits (B,V) behind it. */
interface Read {
  cache: KVCache;
  last: Tensor;
}

async function scored(llm: CausalLM, read: Read, some: readonly Wanted[]): Promise<ContinuationScore[]> {
  const [losses, best] = noGrad(() => scope((): [Tensor, Tensor] => measured(llm, read, some)));
  try {
    const [loss, top] = [await losses.data(), await best.data()];
    // First tokens of all, then each one's others, padded to as many.
    const width = (loss.length - some.length) / some.length;
    return some.map(({ tokens }, i) => {
      const places = tokens.map((_, t) => (t ? some.length + i * width + t - 1 : i));
      const logProbs = places.map((at) => logOf(loss[at] as number));
      const greedy = places.every((at, t) => top[at] === tokens[t]);
      return { tokens, logProbs, logProb: logProbs.reduce((a, b) => a + b, 0), greedy };
    });
  } finally {
    losses.dispose();
    best.dispose();
  }
}

/** (N + N·L) losses and most probable tokens: of N first tokens, and of those that follow on them, L of each with padding. */
function measured(llm: CausalLM, { cache, last }: Read, some: readonly Wanted[]): [losses: Tensor, best: Tensor] {
  const rows = some.map(({ row }) => row);
  const first = exact(gatherRows(last, Tensor.from(Int32Array.from(rows), [rows.length], { device: llm.device })));
  const losses = [
    lossOf(
      first,
      some.map(({ tokens }) => tokens[0] as number),
    ),
  ];
  const best = [argmax(first)];
  const width = Math.max(...some.map(({ tokens }) => tokens.length)) - 1;
  if (width) {
    using own = cache.chosen(rows, cache.length);
    const padded = (make: (tokens: readonly number[]) => readonly number[], pad: number) =>
      some.map(({ tokens }) => [...make(tokens), ...new Array<number>(width + 1 - tokens.length).fill(pad)]);
    const inputIds = padded((tokens) => tokens.slice(0, -1), 0);
    const attentionMask = padded((tokens) => tokens.slice(1).map(() => 1), 0);
    const { logits } = llm.forward({ inputIds, attentionMask }, { cache: own, logits: "all" });
    const flat = exact((logits as Tensor).reshape([some.length * width, llm.config.vocabSize]));
    losses.push(lossOf(flat, padded((tokens) => tokens.slice(1), 0).flat()));
    best.push(argmax(flat));
  }
  return [concat(losses, 0), concat(best, 0)];
}

const exact = (logits: Tensor): Tensor => (logits.dtype === "f32" ? logits : cast(logits, "f32"));
/** (N) f32: minus the logarithm of each target's probability. */
const lossOf = (logits: Tensor, targets: readonly number[]): Tensor =>
  softmaxCrossEntropy(logits, Tensor.from(Int32Array.from(targets), [targets.length], { device: logits.device }));
const logOf = (loss: number): number => (loss === 0 ? 0 : -loss);
