// What a language model is given, checked on the host before anything is enqueued.
import { AnymalError, expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import type { KVCache } from "../nn/kv-cache.js";
import { biasOf, type Ids, type MediaBeside, type Sequence, type Span, spansOf } from "../nn/sequence.js";
import type { DecoderConfig } from "./decoder-config.js";

/** Rows of a table for positions that the caller gives: above every context there is. Positions beyond it are an E_INDEX. */
export const LONGEST_TABLE = 2 ** 20;
const WHERE = "the language model's";

interface Entries {
  /** Entries are in [0, limit) … */
  limit: number;
  /** … or this. */
  also?: number;
  rows?: number;
  length?: number;
}

/** Rows of equal length. Throws E_ARGUMENT, E_SHAPE or E_INDEX by the name of what is wrong. */
export function checkRows(what: string, given: unknown, { limit, also, rows: B, length }: Entries): void {
  const fail = (code: string, wanted: string, got: unknown, next: string): never => {
    throw expected(code, `${WHERE} ${what}`, wanted, got, next);
  };
  const rows = rowsOf(what, given);
  if (B !== undefined && rows.length !== B) fail("E_SHAPE", `${B} rows, one per sequence`, rows.length, "pass as many as there are ids");
  const T = length ?? rows[0]?.length ?? 0;
  for (const [b, row] of rows.entries()) {
    if (row.length !== T) fail("E_SHAPE", `rows of equal length ${T}`, `${row.length} in row ${b}`, "pad them and pass attentionMask");
    for (let t = 0; t < T; ++t) {
      const v = row[t] as number;
      if ((Number.isInteger(v) && v >= 0 && v < limit) || (also !== undefined && v === also)) continue;
      const wanted = `integers from 0 to ${limit - 1}${also === undefined ? "" : ` or ${also}`}`;
      fail("E_INDEX", wanted, `${String(v)} in row ${b}, position ${t}`, "check that tokenizer and model belong together");
    }
  }
}

/** A mask decides what is computed, so the host must know it; its entries are checked where it is read. */
export function checkMask(given: unknown, B: number): void {
  const rows = rowsOf("attentionMask", given);
  if (rows.length !== B)
    throw expected("E_SHAPE", `${WHERE} attentionMask`, `${B} rows, one per sequence`, rows.length, "pass as many as there are ids");
}

function rowsOf(what: string, given: unknown): readonly ArrayLike<number>[] {
  const isRow = (row: unknown) => typeof row === "object" && row !== null && "length" in row && typeof row.length === "number";
  if (Array.isArray(given) && Array.from(given).every(isRow)) return given;
  const next = given instanceof Tensor ? "pass the arrays that it was made of" : "wrap a single row in [ ]";
  throw expected("E_ARGUMENT", `${WHERE} ${what}`, "rows of numbers such as [[1, 2, 3]], one per sequence", shown(given), next);
}

/** One position for each token, or one row of them for all sequences. */
export function checkPositions(
  given: Ids,
  B: number,
  T: number,
  { lead, takes }: { lead: { length: number } | undefined; takes: boolean },
): void {
  if (!takes)
    throw expected(
      "E_ARGUMENT",
      `${WHERE} positionIds`,
      "none: this model knows how far apart tokens are, and no positions",
      "some",
      "leave them out",
    );
  if (lead)
    throw expected(
      "E_ARGUMENT",
      `${WHERE} positionIds`,
      `none, since an adapter puts ${lead.length} rows before the tokens`,
      "some",
      "leave them out, or take the adapter off",
    );
  const [rows, length] = given instanceof Tensor ? given.shape : [given.length, given[0]?.length ?? 0];
  if (rows !== B || length !== T)
    throw expected("E_SHAPE", `${WHERE} positionIds`, `[${B},${T}], a position for each token of this call`, `[${rows},${length}]`);
}

/** Positions that a table must hold for `ids`. */
export function positionLimit(ids: Ids | undefined, config: DecoderConfig): number {
  if (!ids) return 0;
  if (!(ids instanceof Tensor)) return 1 + ids.reduce((most, row) => Array.from(row).reduce((a, b) => Math.max(a, b), most), 0);
  if (config.ropeScaling?.type === "dynamic")
    throw expected(
      "E_ARGUMENT",
      `${WHERE} positionIds`,
      "rows of numbers on the host, since this model's RoPE depends on them",
      "a Tensor",
    );
  return Math.min(config.maxPositions, LONGEST_TABLE);
}

export function idsOf(ids: Ids | undefined): Ids {
  if (ids === undefined) throw new AnymalError("E_ARGUMENT", "the language model: expected inputIds or inputsEmbeds, got neither");
  return ids;
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return `an array of ${value.length ? typeof value[0] : "nothing"}`;
  if (value instanceof Tensor) return "a Tensor";
  return value === null ? "null" : typeof value;
}

/** Which of the T tokens of this call each row has; behind what `cache` holds, a mask may cover that too. */
export function spansFor(mask: readonly ArrayLike<number>[] | undefined, B: number, T: number, cache: KVCache | undefined): Span[] {
  if (!mask) return Array.from({ length: B }, () => ({ start: 0, end: T }));
  return cache && cache.filled > 0 ? cache.spansBehind(mask, T) : spansOf(mask, T);
}

/** Throws E_SHAPE or E_INDEX where media beside do not fit B rows of T tokens. */
export function checkBeside({ rows, seen }: MediaBeside, B: number, T: number): void {
  const fail = (code: string, wanted: string, got: unknown): never => {
    throw expected(code, `${WHERE} beside`, wanted, got);
  };
  const [N, S] = rows.shape as [number, number];
  if (rows.rank !== 3 || N !== B) fail("E_SHAPE", `rows (${B},S,d), as many as there are sequences`, `[${rows.shape}]`);
  if (!seen) return;
  if (seen.length !== B || seen.some((row) => row.length !== T))
    fail(
      "E_SHAPE",
      `seen of ${B} rows of ${T} tokens`,
      seen.map((row) => row.length),
    );
  const wrong = seen
    .flat()
    .find(({ start, end }) => !(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end && end <= S));
  if (wrong) fail("E_INDEX", `seen within the ${S} rows`, `[${wrong.start},${wrong.end})`);
}

/** What the layers are told of media beside, for tokens of `width` places. */
export function toldBeside({ rows }: MediaBeside, seen: readonly (readonly Span[])[] | undefined): NonNullable<Sequence["beside"]> {
  if (!seen) return { rows };
  const [B, S] = rows.shape as [number, number];
  return { rows, seen: Tensor.from(biasOf(seen, S), [B, 1, seen[0]?.length ?? 0, S], { device: rows.device }) };
}
