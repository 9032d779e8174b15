// Which row stands at which place of which epoch: a function of the seed, the epoch and the place alone, whatever was read before.
import { Draw } from "./draw.js";
import { Permutation } from "./permutation.js";
import { findLast, TOGETHER } from "./sources/source.js";

export interface Order {
  /** Rows of an epoch. */
  readonly length: number;
  at(epoch: number, place: number): number;
}

/** Up to here an epoch's order is a list that is shuffled; beyond, it is computed place by place. */
export const LISTED = 2 ** 16;

/** As the rows stand. */
export const inOrder = (length: number): Order => ({ length, at: (_, place) => place });

/** Every order of the rows is as likely as another, as far as a seed goes. */
export function shuffledOrder(length: number, seed: number): Order {
  const rows = remembered((epoch) =>
    length <= LISTED
      ? new Draw(seed, `epoch ${epoch}`).shuffled(Array.from({ length }, (_, row) => row))
      : new Permutation(length, seed, `epoch ${epoch}`),
  );
  return { length, at: (epoch, place) => rows(epoch).at(place) as number };
}

/** Blocks in another order each epoch, `together` of them at a time; within these the rows are shuffled. */
export function blockOrder(blocks: readonly number[], seed: number, together = TOGETHER): Order {
  const starts: number[] = [];
  let length = 0;
  for (const rows of blocks) {
    starts.push(length);
    length += rows;
  }
  const windows = remembered((epoch) => {
    const order = new Draw(seed, `blocks ${epoch}`).shuffled(Array.from(blocks.keys()));
    const own: { from: number; rows: number; blocks: number[] }[] = [];
    let from = 0;
    for (let i = 0; i < order.length; i += together) {
      const some = order.slice(i, i + together);
      const rows = some.reduce((n, block) => n + (blocks[block] as number), 0);
      own.push({ from, rows, blocks: some });
      from += rows;
    }
    return { own, places: own.map(({ from }) => from) };
  });
  const permutations = remembered((key: string) => {
    const [epoch, window] = key.split(" ").map(Number) as [number, number];
    return new Permutation(windows(epoch).own[window]?.rows as number, seed, `window ${key}`);
  });
  return {
    length,
    at(epoch, place) {
      const { own, places } = windows(epoch);
      const at = findLast(places, place);
      const window = own[at] as { from: number; blocks: number[] };
      let left = permutations(`${epoch} ${at}`).at(place - window.from);
      for (const block of window.blocks) {
        const rows = blocks[block] as number;
        if (left < rows) return (starts[block] as number) + left;
        left -= rows;
      }
      throw new Error("a window holds its rows"); // cannot be: its permutation is of their number
    },
  };
}

/** The latest value alone: an order is asked for place after place. */
export function remembered<K, V>(make: (key: K) => V): (key: K) => V {
  let last: { key: K; value: V } | undefined;
  return (key) => {
    if (!last || last.key !== key) last = { key, value: make(key) };
    return last.value;
  };
}
