// Beam search: the prompt is read once and its rows are handed to the beams; each step is recorded, finds the best ways on where the logits are, and tells the
// host a few numbers of each beam. A beam stays in its row as long as it can, so that only what forks is copied, and of that only what was written.
import { Tensor } from "../core/tensor.js";
import { inTurns, type Pieces } from "../core/turns.js";
import type { KVCache } from "../nn/kv-cache.js";
import { argmax, cacheWrite, cast, concat, copy, softmaxCrossEntropy } from "../ops/index.js";
import { type Beam, BeamGroup, type BeamRules, type Candidate } from "./beam-group.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { GenerationError, isGreedy, logSumExp } from "./logits.js";
import { checkGeneration, type GenerationOptions } from "./options.js";
import { Sampler } from "./sampler.js";
import { checkCount, type Head, idsOf, limitsOf, prefill, record, type Step } from "./steps.js";

export type { Beam } from "./beam-group.js";

/** Throws E_GENERATION where options of beams are out of range, or stand where none are searched. */
export function beamsOf({
  numBeams = 1,
  lengthPenalty,
  earlyStopping,
  numReturnSequences = 1,
  past,
  ...sampling
}: GenerationOptions): number {
  checkCount("numBeams", numBeams);
  for (const [option, given] of Object.entries({ lengthPenalty, earlyStopping }))
    if (given !== undefined && numBeams === 1) throw new GenerationError(option, "left out without beams", given, "set numBeams");
  if (numBeams === 1) return numBeams;
  if (lengthPenalty !== undefined && !Number.isFinite(lengthPenalty)) throw new GenerationError("lengthPenalty", "a number", lengthPenalty);
  if (earlyStopping !== undefined && typeof earlyStopping !== "boolean" && earlyStopping !== "never")
    throw new GenerationError("earlyStopping", 'true, false or "never"', earlyStopping);
  if (numReturnSequences > numBeams) throw new GenerationError("numReturnSequences", `at most numBeams, ${numBeams}`, numReturnSequences);
  if (!isGreedy(sampling))
    throw new GenerationError("numBeams", "1 where answers are drawn", numBeams, "leave out temperature, topK, topP and minP");
  if (past) throw new GenerationError("numBeams", "1 with a past, which is of one answer", numBeams, "ask without");
  return numBeams;
}

/**
 * The numReturnSequences best answers to each row of the prompt with their scores, best first, as transformers' generate(num_beams=…) defines them
 * (5.18). Penalties change log-probabilities there, and so they do here. Rejects with E_GENERATION on options out of range.
 */
export async function beamSearch(llm: CausalLM, prompt: Prompt, options: GenerationOptions): Promise<Beam[][]> {
  checkGeneration(options);
  const numBeams = beamsOf(options);
  const { numReturnSequences = 1, lengthPenalty = 1, earlyStopping = false, kvCache, signal } = options;
  const limits = limitsOf(llm, prompt, options);
  const { steps, ends } = limits;
  const rules: BeamRules = { numBeams, lengthPenalty, earlyStopping, steps, ends };
  if (BeamGroup.ways(rules) > llm.config.vocabSize)
    throw new GenerationError("numBeams", `fewer than the model's ${llm.config.vocabSize} tokens, those that end a row apart`, numBeams);
  const sampler = new Sampler(options, ends);
  signal?.throwIfAborted();
  const ids = await idsOf(prompt);
  const groups = ids.map(() => new BeamGroup(rules));
  const firstWays = new Ways(llm, limits.batch, sampler, BeamGroup.ways(rules));
  try {
    using cache = llm.createCache(limits.batch, limits.length, kvCache);
    using output = prefill(llm, prompt, cache, firstWays.head);
    const lists = await firstWays.read(output, 0, (row) => ids[row] as number[]);
    for (const [g, group] of groups.entries()) group.advance(candidatesOf(group, [lists[g] as Way[]]));
    if (groups.some(({ done }) => !done)) {
      const rows = ids.flatMap((_, g) => new Array<number>(numBeams).fill(g));
      await search(llm, cache.chosen(rows, limits.size), { groups, ids, rules, sampler, options });
    }
  } finally {
    firstWays.dispose();
  }
  return groups.map(({ answers }) => answers.slice(0, numReturnSequences));
}

/** The best answers of a search step by step, as if they had been written so. */
export function* stepsOf(found: readonly (readonly Beam[])[], onTokens: GenerationOptions["onTokens"]): Generator<(number | undefined)[]> {
  const rows = found.flat();
  const longest = Math.max(...rows.map(({ tokens }) => tokens.length));
  for (let t = 0; t < longest; ++t) {
    const tokens = rows.map((row) => row.tokens[t]);
    onTokens?.(tokens);
    yield tokens;
  }
}

interface Search {
  groups: readonly BeamGroup[];
  /** Of each prompt, for penalties. */
  ids: readonly (readonly number[])[];
  rules: BeamRules;
  sampler: Sampler;
  options: GenerationOptions;
}

/** From the second token on, in a cache with numBeams rows for each prompt, which it disposes. */
async function search(llm: CausalLM, cache: KVCache, { groups, ids, rules, sampler, options }: Search): Promise<void> {
  const { numBeams, steps } = rules;
  const rows = groups.length * numBeams;
  const since = cache.filled;
  const ways = new Ways(llm, rows, sampler, BeamGroup.ways(rules));
  let step: Step | undefined;
  const readBy: IdsOf = (row) => {
    const group = groups[Math.floor(row / numBeams)] as BeamGroup;
    const beam = group.done ? undefined : group.running.find((one) => one.row === row % numBeams);
    return beam && [...(ids[Math.floor(row / numBeams)] as number[]), ...beam.tokens];
  };
  try {
    using current = Tensor.from(new Int32Array(rows), [rows, 1], { device: llm.device, dtype: "i32" });
    for (let made = 1; made < steps && groups.some(({ done }) => !done); ++made) {
      const tokens = new Array<number>(rows).fill(0);
      for (const [g, { running, done }] of groups.entries())
        for (const beam of done ? [] : running) tokens[g * numBeams + beam.row] = beam.tokens.at(-1) as number;
      current.write(tokens);
      if (step) cache.replayed(1);
      else step = record(llm, { cache, current }, ways.head, options.activations);
      step.replay();
      const lists = await ways.read(step.result, made, readBy);
      options.signal?.throwIfAborted();
      for (const [g, group] of groups.entries()) {
        if (group.done) continue;
        const from = g * numBeams;
        const forks = group.advance(candidatesOf(group, lists.slice(from, from + numBeams)));
        for (const fork of forks) cache.fork(from + fork.from, from + fork.to, since);
      }
    }
  } finally {
    step?.dispose();
    ways.dispose();
    cache.dispose();
  }
}

/** `lists`: of each row of the group. */
const candidatesOf = ({ running }: BeamGroup, lists: readonly (readonly Way[])[]): Candidate[] =>
  running.flatMap(({ row }, beam) => (lists[row] as Way[]).map((way) => ({ ...way, beam })));

type Way = Omit<Candidate, "beam">;
/** All that a row holds so far, for penalties; nothing of rows that nobody asks about. */
type IdsOf = (row: number) => readonly number[] | undefined;

/** The best ways on of each row: found on the device, unless a penalty looks at the log-probabilities. */
class Ways {
  readonly #least: Tensor;

  constructor(
    { device }: CausalLM,
    private readonly rows: number,
    private readonly sampler: Sampler,
    private readonly count: number,
  ) {
    this.#least = Tensor.full([rows, 1, 1, 1], -Infinity, { device });
  }

  /** Logits (N,V) → (2·count·N) f32: first the most probable tokens of all rows, then the second ones …, and so minus the logarithms of how probable they are. */
  readonly head: Head = (given) => {
    const logits = given.dtype === "f32" ? given : cast(given, "f32");
    if (!this.sampler.plain) return logits;
    const [N, V] = logits.shape as [number, number];
    const left = copy(logits);
    const slots = left.reshape([N, V, 1, 1]);
    const [tokens, losses]: [Tensor[], Tensor[]] = [[], []];
    for (let k = 0; k < this.count; ++k) {
      const best = argmax(left);
      tokens.push(cast(best, "f32")); // exact below 2^24
      losses.push(softmaxCrossEntropy(logits, best));
      cacheWrite(slots, this.#least, best); // it is not the best any more
    }
    return concat([...tokens, ...losses], 0);
  };

  /** What head() found behind `made` tokens. */
  async read(found: Tensor, made: number, idsOf: IdsOf): Promise<Way[][]> {
    const values = (await found.data()) as Float32Array;
    if (!this.sampler.plain) return inTurns(this.#penalised(values, made, idsOf));
    const at = (k: number, row: number) => values[k * this.rows + row] as number;
    return Array.from({ length: this.rows }, (_, row) =>
      Array.from({ length: this.count }, (_, k) => ({ token: at(k, row), logProb: -at(this.count + k, row) })).filter(possible),
    );
  }

  *#penalised(logits: Float32Array, made: number, idsOf: IdsOf): Pieces<Way[][]> {
    const width = logits.length / this.rows;
    const lists: Way[][] = [];
    for (let row = 0; row < this.rows; ++row) {
      const ids = idsOf(row);
      const own = ids && logSoftmax(logits.slice(row * width, (row + 1) * width));
      yield;
      if (own) yield* this.sampler.adjusted(own, ids, made);
      lists.push(own ? bestOf(own, this.count) : []);
      yield;
    }
    return lists;
  }

  dispose(): void {
    this.#least.dispose();
  }
}
const possible = ({ logProb }: Way): boolean => logProb > -Infinity;

/** In place, rounded to f32 as torch's. */
function logSoftmax(logits: Float32Array): Float32Array {
  const shift = logSumExp(logits);
  for (let i = 0; i < logits.length; ++i) logits[i] = (logits[i] as number) - shift;
  return logits;
}

/** The `count` largest, the first of equals first. */
function bestOf(logProbs: Float32Array, count: number): Way[] {
  const best: Way[] = [];
  for (let token = 0; token < logProbs.length; ++token) {
    const logProb = logProbs[token] as number;
    if (logProb === -Infinity || (best.length === count && !(logProb > (best[count - 1] as Way).logProb))) continue;
    let at = best.length;
    while (at > 0 && logProb > (best[at - 1] as Way).logProb) --at;
    best.splice(at, 0, { token, logProb });
    best.length = Math.min(best.length, count);
  }
  return best;
}
