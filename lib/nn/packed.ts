// Several samples behind each other in one row, as if each had a row of its own: places are counted from each one's first token, and no token sees another
// sample's. Products go over tokens without padding; only attention lays the samples out side by side, padded to the longest.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { type AttentionOptions, gatherRows } from "../ops/index.js";
import { causalAttention } from "./alibi.js";
import type { Heads, Layout, Sequence } from "./sequence.js";

/** Lengths of the samples of each row, one behind the other; what is left of a row is padding. */
export type SampleLengths = readonly (readonly number[])[];

/** What attention is told of S samples in rows of B·T tokens. Integers are i32. */
export interface Packed {
  /** (S·L): which token stands at each place of each sample; -1 behind a shorter one's end. */
  places: Tensor;
  /** (B·T): at which of these places each token stands; -1 of padding. */
  tokens: Tensor;
  /** (S,2): the places that a sample has. */
  range: Tensor;
  /** L, of the longest sample. */
  longest: number;
}

/** Throws E_SHAPE or E_VALUE where the samples do not fit B rows of T tokens, E_ARGUMENT where one of the `others` is there. */
export function checkPacked(samples: SampleLengths, B: number, T: number, others: Readonly<Record<string, unknown>>): void {
  const fail = (code: string, wanted: string, got: unknown) =>
    expected(code, "the language model's packed", wanted, got, "or give each sample a row of its own");
  const other = Object.keys(others).find((name) => others[name] !== undefined);
  if (other) throw fail("E_ARGUMENT", `no ${other} beside it`, "some");
  if (!Array.isArray(samples) || samples.length !== B)
    throw fail("E_SHAPE", `lengths of the samples of ${B} rows, as [[3, 5]] of one row`, Array.isArray(samples) ? samples.length : samples);
  for (const [b, row] of samples.entries()) {
    if (!Array.isArray(row) || !row.length || !row.every((length) => Number.isInteger(length) && length > 0))
      throw fail("E_VALUE", "lengths of at least one token", `${String(row)} in row ${b}`);
    const sum = row.reduce((a, b) => a + b, 0);
    if (sum > T) throw fail("E_SHAPE", `samples of at most ${T} tokens together`, `${sum} in row ${b}`);
  }
}

/** Where the tokens stand, and what attention is told. */
export function packedLayout(samples: SampleLengths, T: number, device: Device): { layout: Layout; packed: Packed } {
  const [B, all] = [samples.length, samples.flat()];
  const longest = Math.max(...all);
  const positions = new Int32Array(B * T);
  const tokens = new Int32Array(B * T).fill(-1);
  const places = new Int32Array(all.length * longest).fill(-1);
  const range = Int32Array.from(all.flatMap((length) => [0, length]));
  let sample = 0;
  for (const [b, row] of samples.entries()) {
    let at = b * T;
    for (const length of row) {
      for (let i = 0; i < length; ++i, ++at) {
        positions[at] = i;
        tokens[at] = sample * longest + i;
        places[sample * longest + i] = at;
      }
      ++sample;
    }
  }
  const tensor = (values: Int32Array, shape: number[]) => Tensor.from(values, shape, { device });
  return {
    layout: { positions, range, batch: B, length: T },
    packed: {
      places: tensor(places, [places.length]),
      tokens: tensor(tokens, [tokens.length]),
      range: tensor(range, [all.length, 2]),
      longest,
    },
  };
}

/** What queries (B,T,H,D) find in the keys of their own samples. A bias is (1,H,L,L). */
export function attendedApart(
  { q, k, v }: Heads,
  { places, tokens, range, longest }: Packed,
  options: Omit<AttentionOptions, "causal"> & Pick<Sequence, "slopes">,
): Tensor {
  const shape = q.shape as [number, number, number, number];
  const apart = (x: Tensor) => {
    const [B, T, heads, D] = x.shape as [number, number, number, number];
    return gatherRows(x.reshape([B * T, heads * D]), places).reshape([-1, longest, heads, D]);
  };
  const y = causalAttention(apart(q), apart(k), apart(v), { ...options, range });
  return gatherRows(y.reshape([-1, shape[2] * shape[3]]), tokens).reshape(shape);
}

/** Labels whose samples' first ones are nobody's next. */
export function labelsApart(labels: readonly ArrayLike<number>[], samples: SampleLengths, ignore: number): Int32Array[] {
  return labels.map((row, b) => {
    const own = Int32Array.from(row as Iterable<number> & ArrayLike<number>);
    let at = 0;
    for (const length of samples[b] as readonly number[]) {
      own[at] = ignore;
      at += length;
    }
    return own;
  });
}
