// Values in the order of their size without sorting all of them: a vocabulary falls into buckets by the upper half of its floats' bits, and only the bucket
// in which a cut lies is sorted.
const SIZE = 1 << 16;
let scratch: { counts: Uint32Array; sums: Float64Array } | undefined;

/** The bucket of each of `values`; a larger value is never in a lower one. */
function bucketsOf(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const buckets = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; ++i) {
    const b = bits[i] as number;
    buckets[i] = (b > 0x80000000 ? ~b : b | 0x80000000) >>> 16; // -0 is with 0
  }
  return buckets;
}

function inside(values: Float32Array, buckets: Uint16Array, bucket: number): Float32Array {
  return values.filter((_, i) => buckets[i] === bucket).sort();
}

function emptied(): { counts: Uint32Array; sums: Float64Array } {
  scratch ??= { counts: new Uint32Array(SIZE), sums: new Float64Array(SIZE) };
  scratch.counts.fill(0);
  scratch.sums.fill(0);
  return scratch;
}

/** The k-th largest, k from 1 to their number. */
export function kthLargest(values: Float32Array, k: number): number {
  const buckets = bucketsOf(values);
  const { counts } = emptied();
  for (const b of buckets) counts[b] = (counts[b] as number) + 1;
  let [bucket, above] = [SIZE - 1, 0];
  for (; above + (counts[bucket] as number) < k; --bucket) above += counts[bucket] as number;
  const sorted = inside(values, buckets, bucket);
  return sorted[sorted.length - (k - above)] as number;
}

/**
 * Puts -Infinity in place of the smallest values whose weights add up to at most `limit`, all but the largest value at most. Of equal ones the first go
 * first.
 */
export function cutSmallest(values: Float32Array, weights: Float64Array, limit: number): void {
  const buckets = bucketsOf(values);
  const { counts, sums } = emptied();
  let [top, bottom] = [0, SIZE - 1];
  for (let i = 0; i < buckets.length; ++i) {
    const b = buckets[i] as number;
    counts[b] = (counts[b] as number) + 1;
    sums[b] = (sums[b] as number) + (weights[i] as number);
    if (b > top) top = b;
    if (b < bottom) bottom = b;
  }
  let [bucket, sum] = [bottom, 0];
  for (; bucket < top && !(sum + (sums[bucket] as number) > limit); ++bucket) sum += sums[bucket] as number;
  const sorted = inside(values, buckets, bucket);
  const weightOf = new Map<number, number>();
  for (let i = 0; i < buckets.length; ++i) if (buckets[i] === bucket) weightOf.set(values[i] as number, weights[i] as number);
  let removed = 0;
  for (; removed + (bucket === top ? 1 : 0) < sorted.length; ++removed) {
    sum += weightOf.get(sorted[removed] as number) as number;
    if (sum > limit) break;
  }
  const last = removed ? (sorted[removed - 1] as number) : -Infinity;
  let equals = 0;
  while (equals < removed && sorted[removed - 1 - equals] === last) ++equals;
  for (let i = 0; i < buckets.length; ++i) {
    const b = buckets[i] as number;
    if (b > bucket) continue;
    const value = values[i] as number;
    if (b < bucket || value < last || (value === last && equals-- > 0)) values[i] = -Infinity;
  }
}
