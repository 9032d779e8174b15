// Attention over (B,T,H,D) queries and (B,S,K,D) keys and values, rotary embedding, and the cached decode step.
import { record, save } from "../core/autograd.js";
import { native } from "../core/native.js";
import { checkOptions, optionNames } from "../core/options.js";
import type { Tensor } from "../core/tensor.js";
import { made, only } from "./result.js";

export interface AttentionOptions {
  /** (B,2) i32: keys outside [start, end) are hidden. */
  range?: Tensor | undefined;
  /** f32 (Bb,Hb,T,S): added to the scaled scores; row b uses b mod Bb, Hb is 1 or H; -Infinity hides. */
  bias?: Tensor | undefined;
  /** Default 1/√D. */
  scale?: number | undefined;
  /** Query t sees keys up to t + S - T. */
  causal?: boolean | undefined;
  /** > 0: of those only the last `window`. */
  window?: number | undefined;
}

const ATTENTION_OPTIONS = optionNames<AttentionOptions>({ range: true, bias: true, scale: true, causal: true, window: true });
const defaultScale = (q: Tensor) => 1 / Math.sqrt(q.shape[3] as number);

/** y (B,T,H,D). Head h reads key/value head h / (H/K). A query that sees no key gives zeros. */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  checkOptions("attention", options, ATTENTION_OPTIONS);
  const { range, bias, scale = defaultScale(q), causal = false, window = 0 } = options;
  const [h, l] = native().attention(q.handle, k.handle, v.handle, range?.handle, bias?.handle, scale, causal, window);
  const [y, lse] = [made(h, q), made(l, q)];
  record(y, [q, k, v, bias], () => {
    const [sq, sk, sv, sy, sl, sr, sb] = [save(q), save(k), save(v), save(y), save(lse), range && save(range), bias && save(bias)];
    return (g, into) =>
      native()
        .attention_backward(
          into(3)?.handle,
          only(g).handle,
          sq.handle,
          sk.handle,
          sv.handle,
          sy.handle,
          sl.handle,
          sr?.handle,
          sb?.handle,
          scale,
          causal,
          window,
        )
        .map((d) => made(d, only(g)));
  });
  lse.dispose();
  return y;
}

/** Keys in two buffers, first k1 (B,S1,K,D) then k2 (B,S2,K,D), nothing concatenated: the Perceiver's [media; latents]. range hides keys of the first. */
export function attentionTwoSource(
  q: Tensor,
  k1: Tensor,
  v1: Tensor,
  k2: Tensor,
  v2: Tensor,
  options: Pick<AttentionOptions, "range" | "scale"> = {},
): Tensor {
  checkOptions("attentionTwoSource", options, ["range", "scale"]);
  const { range, scale = defaultScale(q) } = options;
  const [h, l] = native().attention_two_source(q.handle, k1.handle, v1.handle, k2.handle, v2.handle, range?.handle, scale);
  const [y, lse] = [made(h, q), made(l, q)];
  record(y, [q, k1, v1, k2, v2], () => {
    const s = [q, k1, v1, k2, v2, y, lse].map(save) as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];
    const sr = range && save(range);
    return (g) => {
      const [sq, a, b, c, d, sy, sl] = s;
      return native()
        .attention_two_source_backward(
          only(g).handle,
          sq.handle,
          a.handle,
          b.handle,
          c.handle,
          d.handle,
          sy.handle,
          sl.handle,
          sr?.handle,
          scale,
        )
        .map((t) => made(t, only(g)));
    };
  });
  lse.dispose();
  return y;
}

/**
 * One query per row, q (B,1,H,D), against caches (B,Smax,K,D); keys [range[b][0], range[b][1]) count. The caches have q's dtype; with scales f32
 * (B,Smax,K), the largest of each position and head, they are u8 that holds int8, as quantizeRowsInt8 makes them. Not differentiable.
 */
export function attentionDecode(
  q: Tensor,
  kCache: Tensor,
  vCache: Tensor,
  range: Tensor,
  options: Pick<AttentionOptions, "scale" | "window"> & { kScale?: Tensor; vScale?: Tensor } = {},
): Tensor {
  checkOptions("attentionDecode", options, ["scale", "window", "kScale", "vScale"]);
  const { scale = defaultScale(q), window = 0, kScale, vScale } = options;
  return made(
    native().attention_decode(q.handle, kCache.handle, vCache.handle, kScale?.handle, vScale?.handle, range.handle, scale, window),
    q,
  );
}

/** rows (B,T,K,D) into the cache at position (B) i32, in place. */
export function cacheWrite(cache: Tensor, rows: Tensor, position: Tensor): void {
  native().cache_write(cache.handle, rows.handle, position.handle);
}

/** x (B,T,H,D) turned by its positions (B,T) i32: half-split pairs, table (P,D/2,2) f32 of (cos, sin) (RoFormer, arXiv 2104.09864). */
export function rope(x: Tensor, table: Tensor, positions: Tensor): Tensor {
  return record(made(native().rope(x.handle, table.handle, positions.handle, false), x), [x], () => {
    const [st, sp] = [save(table), save(positions)];
    return (g) => [made(native().rope(only(g).handle, st.handle, sp.handle, true), only(g))];
  });
}

/** rope() of queries (B,T,H,D) and keys (B,T,K,D) in one op. */
export function ropePair(q: Tensor, k: Tensor, table: Tensor, positions: Tensor): [q: Tensor, k: Tensor] {
  const turned = native()
    .rope_pair(q.handle, k.handle, table.handle, positions.handle, false)
    .map((h) => made(h, q)) as [Tensor, Tensor];
  return record(turned, [q, k], () => {
    const [st, sp] = [save(table), save(positions)];
    const back = (g: Tensor) => made(native().rope(g.handle, st.handle, sp.handle, true), g);
    const both = q.requiresGrad && k.requiresGrad;
    return ([dq, dk]) => {
      if (!both || !dq || !dk) return [q.requiresGrad && dq ? back(dq) : undefined, k.requiresGrad && dk ? back(dk) : undefined];
      return native()
        .rope_pair(dq.handle, dk.handle, st.handle, sp.handle, true)
        .map((h) => made(h, dq));
    };
  }) as [Tensor, Tensor];
}

/** Where ropeCached() puts keys and values, (B,Smax,K,D) of one dtype, and where a row's go from: slot (B) i32. */
export interface CachePlace {
  kCache: Tensor;
  vCache: Tensor;
  slot: Tensor;
}

/** The queries (B,T,H,D) turned by their positions (B,T) i32; the keys (B,T,K,D), turned too, and values like them are in the caches then. Not differentiable. */
export function ropeCached(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  table: Tensor,
  positions: Tensor,
  { kCache, vCache, slot }: CachePlace,
): Tensor {
  const y = native().rope_cached(kCache.handle, vCache.handle, q.handle, k.handle, v.handle, table.handle, positions.handle, slot.handle);
  return made(y, q);
}
