// Gradient accumulation that equals the full batch: micro-batches differ in how many tokens they score, so each is weighted by its
// token count over the count of its whole window. A mean of micro-batch means would weigh a short answer's tokens more than a long one's.

export interface MicroBatch<T> {
  batch: T;
  /** Scored tokens of the whole window: the number to divide this micro-batch's summed loss by. */
  windowTokens: number;
  tokens: number;
  /** True on the last micro-batch of its window: step the optimiser after it. */
  last: boolean;
}

/** Groups `batches` into windows of `count` and tells each its window's token count. The last window may be shorter and is complete in itself. */
export function* accumulate<T>(batches: Iterable<T>, count: number, tokensOf: (batch: T) => number): Generator<MicroBatch<T>> {
  if (!(Number.isInteger(count) && count >= 1)) throw new RangeError(`accumulate: expected a count of micro-batches >= 1, got ${count}`);
  let window: T[] = [];
  for (const batch of batches) {
    window.push(batch);
    if (window.length === count) {
      yield* closed(window, tokensOf);
      window = [];
    }
  }
  yield* closed(window, tokensOf);
}

function* closed<T>(window: readonly T[], tokensOf: (batch: T) => number): Generator<MicroBatch<T>> {
  const tokens = window.map(tokensOf);
  const windowTokens = tokens.reduce((a, b) => a + b, 0);
  for (const [i, batch] of window.entries()) yield { batch, windowTokens, tokens: tokens[i] as number, last: i === window.length - 1 };
}
