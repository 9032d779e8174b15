// Attention with linear biases (arXiv 2108.12409): no positions; a head's scores fall with the distance between query and key, each head by a slope of its own.
import { checkpoint } from "../core/autograd.js";
import type { Device } from "../core/device.js";
import { keep, scope } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { type AttentionOptions, add, attention, cast, concat, linear, sliceCopy, transposeCopy } from "../ops/index.js";
import type { Sequence } from "./sequence.js";

/**
 * (H): how fast each head's scores fall, as MPT has it: for a power of two heads 2^(-most·i/H), i from 1 on; for another number those of the next power, every
 * other one first.
 */
export function alibiSlopes(heads: number, most = 8): Float32Array {
  const power = 2 ** Math.ceil(Math.log2(heads));
  const all = Array.from({ length: power }, (_, i) => 1 / 2 ** Math.fround((i + 1) * Math.fround(most / power)));
  const order = power === heads ? all : [...all.filter((_, i) => i % 2 === 1), ...all.filter((_, i) => i % 2 === 0)];
  return Float32Array.from(order.slice(0, heads));
}

/** Numbers of biases that are held at once: 16 MiB. */
const MOST = 2 ** 22;

/** (1,H,T,S) f32 from slopes (H,1): of the last T of S places. */
function distances(slopes: Tensor, T: number, S: number): Tensor {
  const distance = new Float32Array(T * S);
  for (let t = 0; t < T; ++t) for (let s = 0; s < S; ++s) distance[t * S + s] = s - (t + S - T);
  return scope(() => linear(slopes, Tensor.from(distance, [T * S, 1], { device: slopes.device })).reshape([1, -1, T, S]));
}

/**
 * attention() of queries (B,T,H,D), which are the last of the keys' S places, each seeing what is not behind it. With slopes (H,1) f32 in the place of a bias, as
 * many queries at a time as have biases of 16 MiB; backward makes these again.
 */
export function causalAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { slopes, range, ...options }: Omit<AttentionOptions, "causal"> & Pick<Sequence, "slopes">,
): Tensor {
  if (!slopes) return attention(q, k, v, { ...options, range, causal: true });
  const [T, S] = [q.shape[1], k.shape[1]] as [number, number];
  const each = Math.max(1, Math.floor(MOST / slopes.size / S));
  return scope(() => {
    const parts: Tensor[] = [];
    for (let from = 0; from < T; from += each) {
      const count = Math.min(each, T - from);
      const seen = S - T + from + count; // keys behind the last query of these are nobody's
      const stretch = (allQ: Tensor, allK: Tensor, allV: Tensor, by: Tensor, within?: Tensor) => {
        const [ownK, ownV] = [allK, allV].map((x) => sliceCopy(x, 1, 0, seen)) as [Tensor, Tensor];
        const bias = distances(by, count, seen);
        return attention(sliceCopy(allQ, 1, from, count), ownK, ownV, { ...options, range: within, bias, causal: true });
      };
      parts.push(scope(() => checkpoint(stretch as (...inputs: Tensor[]) => Tensor, q, k, v, slopes, ...(range ? [range] : []))));
    }
    return parts.length === 1 ? (parts[0] as Tensor) : concat(parts, 1);
  });
}

/** What is added to the scores: slope · (place of the key - place of the query). What every key of a query has in common changes nothing. */
export class Alibi {
  /** (H,1) f32. */
  readonly slopes: Tensor;
  /** (P) f32 of 1, 2, … and (P,1) of -1, for steps in caches of up to P places. */
  #places: Tensor | undefined;
  #minus: Tensor | undefined;

  constructor(
    private readonly device: Device,
    slopes: Float32Array,
  ) {
    this.slopes = keep(Tensor.from(slopes, [slopes.length, 1], { device }));
  }

  /** For the last T of S places: (1,H,T,S) f32 while that is little; where it is not, the slopes, by which biases are made for a few queries at a time. */
  between(T: number, S: number): Pick<Sequence, "bias" | "slopes"> {
    const { slopes } = this;
    return slopes.size * T * S > MOST ? { slopes } : { bias: distances(slopes, T, S) };
  }

  /** (B,H,1,length) f32: of each row's latest place, the last of its range (B,2) i32, in a cache of `length`, for which room() has been made. */
  latest(range: Tensor, length: number): Tensor {
    return scope(() => {
      const [places, minus] = [this.#places as Tensor, this.#minus as Tensor];
      const B = range.shape[0] as number;
      const ends = cast(sliceCopy(range, 1, 1, 1), "f32");
      const distance = add(linear(ends, minus.slice(0, length)), places.slice(0, length));
      const all = linear(this.slopes, distance.reshape([B * length, 1])); // (H,B·length)
      if (B === 1) return all.reshape([1, -1, 1, length]);
      return transposeCopy(all.reshape([-1, B, length]), 0, 1).reshape([B, -1, 1, length]);
    });
  }

  /** Makes what latest() reads in a cache of that length: nothing comes from the host while a step is recorded. */
  room(length: number): void {
    if (this.#places && (this.#places.shape[0] as number) >= length) return;
    const rows = 2 ** Math.ceil(Math.log2(Math.max(length, 64))); // grows by doubling
    const { device } = this;
    const places = keep(
      Tensor.from(
        Float32Array.from({ length: rows }, (_, s) => s + 1),
        [rows],
        { device },
      ),
    );
    const minus = keep(Tensor.full([rows, 1], -1, { device }));
    this.#free();
    [this.#places, this.#minus] = [places, minus];
  }

  #free(): void {
    this.#places?.dispose();
    this.#minus?.dispose();
  }
  dispose(): void {
    this.#free();
    this.slopes.dispose();
  }
}
