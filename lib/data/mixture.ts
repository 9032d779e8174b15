// Several sets of rows in shares of their own. Which row of which set stands at a place is a function of the seed and the place alone: nothing is held, and a
// run that goes on meets what an unbroken one would.
import { is, isObject, type Schema } from "../core/checks.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { Modality } from "../media/part.js";
import { Draw } from "./draw.js";
import { blockOrder, type Order, remembered, shuffledOrder } from "./order.js";
import { READERS, type ReaderName } from "./readers.js";
import { mediaOf, type Row } from "./row.js";
import { joinedRows, type RowSource } from "./sources/source.js";

/** A set of rows, with what is said of it alone. */
export interface DataPart {
  /** Its files, a data set of the hub as org/name[@revision] (resolveData), or rows that are there already. */
  from: string | readonly string[] | readonly Row[];
  /**
   * Its share of the rows that are read, against that of the others: 3 beside 1 is three rows of four, whatever the sets' sizes. Either all parts have one
   * or none: then each counts by its rows.
   */
  weight?: number;
  /** As which kind it counts under modalityWeights. Default: the kind of media that its rows hold, "text" where they hold none. */
  modality?: Modality | "text";
  /** Names of its columns where they are others than ours, in place of the option for all (RowsOptions). */
  columns?: Readonly<Record<string, string>>;
  /** A published data set whose files are no rows yet (READERS): "clotho", "coco-captions" … */
  as?: ReaderName;
  /** Of a data set of the hub. Default "train". */
  split?: string;
  /** Of a data set of the hub that has several, as its card names them. */
  config?: string;
}
/** Files and rows one after the other, or sets in shares of their own. */
export type TrainingData = string | DataPart | readonly (string | Row | DataPart)[];

/** What a part may say in a recipe. */
export const PART_KEYS = {
  from: is.either(is.text, is.listOf(is.text)),
  weight: { wanted: "a number above 0", fits: (v: unknown) => typeof v === "number" && v > 0 && v < Infinity },
  modality: is.text,
  columns: {
    wanted: 'a mapping of names of columns, as { image: "picture_path" }',
    fits: (v: unknown) => isObject(v) && Object.values(v).every(is.text.fits),
  },
  as: is.oneOf(...Object.keys(READERS)),
  split: is.text,
  config: is.text,
} as const satisfies Schema & Record<keyof DataPart, unknown>;

const isRow = (one: Row | DataPart): one is Row => isObject(one) && "turns" in one;

/** The data as parts: rows that follow each other are one, and so is each file. */
export function partsOf(data: TrainingData): DataPart[] {
  const parts: DataPart[] = [];
  let rows: Row[] | undefined;
  for (const one of [data].flat() as readonly (string | Row | DataPart)[]) {
    if (typeof one === "string" || !isRow(one)) {
      parts.push(typeof one === "string" ? { from: one } : checked(one));
      rows = undefined;
      continue;
    }
    if (!rows) {
      rows = [];
      parts.push({ from: rows });
    }
    rows.push(one);
  }
  return parts;
}

function checked(part: DataPart): DataPart {
  checkOptions("data", part, Object.keys(PART_KEYS));
  const { from, weight, columns, as } = part;
  if (as !== undefined && !PART_KEYS.as.fits(as)) throw expected("E_VALUE", "data: as", PART_KEYS.as.wanted, as);
  if (!(typeof from === "string" || Array.isArray(from)) || !from.length)
    throw expected("E_VALUE", "data", "files or rows under from", from, "write { from: FILE, weight: 1 }");
  if (weight !== undefined && !PART_KEYS.weight.fits(weight)) throw expected("E_VALUE", "data: weight", PART_KEYS.weight.wanted, weight);
  if (columns !== undefined && !PART_KEYS.columns.fits(columns))
    throw expected("E_VALUE", "data: columns", PART_KEYS.columns.wanted, columns);
  return part;
}

/** Of a part, opened. */
export interface MixturePart extends Pick<DataPart, "weight" | "modality"> {
  source: RowSource;
}

/** The parts as one source: one after the other, or mixed where weights are given. Closes all of them. */
export async function mixedRows(parts: readonly MixturePart[], modalityWeights?: ModalityWeights): Promise<RowSource> {
  const sources = parts.map(({ source }) => source);
  const kinds = modalityWeights && (await Promise.all(parts.map(({ source, modality }) => modality ?? kindOf(source))));
  const sets = parts.map(({ source: { length }, weight }, i) => ({ rows: length, weight, kind: kinds?.[i] }));
  const weights = weightsOf(sets, modalityWeights);
  if (!weights || sources.length < 2) return joinedRows(sources);
  return joinedRows(sources, (seed) => {
    const orders = sources.map((source, i) => orderOf(source, new Draw(seed, `set ${i}`).below(2 ** 31)));
    return mixedOrder(orders, weights, seed);
  });
}

/** As a source alone is read: its own order, or by its blocks. */
export function orderOf({ length, blocks, together, order }: RowSource, seed: number): Order {
  return order?.(seed) ?? (blocks ? blockOrder(blocks, seed, together) : shuffledOrder(length, seed));
}

export type ModalityWeights = Readonly<Record<string, number>>;

/** What is known of a set before its rows are read. */
export interface SetOfRows {
  rows: number;
  weight?: number | undefined;
  /** Of its media, where kinds have weights. */
  kind?: string | undefined;
}

/** What each set's weight comes to; undefined where nobody gave any. Throws E_VALUE where they do not fit the sets. */
export function weightsOf(sets: readonly SetOfRows[], modalityWeights?: ModalityWeights): number[] | undefined {
  const given = sets.filter(({ weight }) => weight !== undefined).length;
  if (given && given < sets.length)
    throw expected("E_VALUE", "data", "a weight of every set, or of none", `${given} of ${sets.length}`, "give the others one too");
  if (!given && !modalityWeights) return undefined;
  if (sets.some(({ rows }) => !rows)) throw expected("E_DATA", "data", "rows in every set of a mixture", "none", "leave it out");
  const weights = sets.map(({ weight, rows }) => weight ?? rows);
  if (!modalityWeights) return weights;
  const kinds = [...new Set(sets.map(({ kind }) => kind as string))];
  for (const [kind, weight] of Object.entries(modalityWeights)) {
    if (!PART_KEYS.weight.fits(weight)) throw expected("E_VALUE", `modalityWeights: ${kind}`, PART_KEYS.weight.wanted, weight);
    if (!kinds.includes(kind))
      throw expected("E_VALUE", "modalityWeights", `kinds that the data holds, ${kinds.join(", ")}`, kind, "leave it out");
  }
  const without = kinds.find((kind) => !Object.hasOwn(modalityWeights, kind));
  if (without !== undefined)
    throw expected(
      "E_VALUE",
      "modalityWeights",
      `a weight of each kind in the data, ${without} too`,
      Object.keys(modalityWeights).join(", "),
    );
  const sums = new Map<string, number>();
  for (const [i, { kind = "" }] of sets.entries()) sums.set(kind, (sums.get(kind) ?? 0) + (weights[i] as number));
  return sets.map(({ kind = "" }, i) => ((modalityWeights[kind] as number) * (weights[i] as number)) / (sums.get(kind) as number));
}

/** Rows that are looked at to tell what a set holds. */
const LOOKED_AT = 64;

/** The kind of media in all of the set's rows. Bad ones say nothing. */
async function kindOf(source: RowSource): Promise<string> {
  const seen = new Set<string>();
  for (let i = 0; i < Math.min(LOOKED_AT, source.length); ++i) {
    const row = await source.row(Math.floor((i * source.length) / Math.min(LOOKED_AT, source.length))).catch(() => undefined);
    if (!row) continue;
    const own = new Set(mediaOf(row).map(({ modality }) => modality));
    if (!own.size) seen.add("text");
    for (const modality of own) seen.add(modality);
  }
  const [only, ...more] = seen;
  if (only !== undefined && !more.length) return only;
  const where = source.where(0).replace(/:\d+$/, "");
  const got = seen.size ? [...seen].join(" and ") : "none that can be read";
  throw expected("E_VALUE", `modalityWeights: ${where}`, "rows of one kind of media", got, "say as which it counts: { from, modality }");
}

/** Rows of a stretch are dealt out together: the shares hold exactly in each, as parts of it. */
const STRETCH = 4096;

/**
 * Rows of several orders in shares of their own, those of each in its own order, which begins anew when it has been through. An epoch is as many rows as all
 * have together. Shares are rounded to 4096ths, none to nothing.
 */
export function mixedOrder(orders: readonly Order[], weights: readonly number[], seed: number): Order {
  const quotas = quotasOf(weights);
  const starts: number[] = [];
  let length = 0;
  for (const order of orders) {
    starts.push(length);
    length += order.length;
  }
  const size = quotas.reduce((a, b) => a + b, 0);
  const dealt = quotas.flatMap((quota, set) => new Array<number>(quota).fill(set));
  const stretches = remembered((stretch: number) => {
    const sets = new Draw(seed, `mixture ${stretch}`).shuffled(dealt);
    const next = quotas.map((quota) => quota * stretch);
    return sets.map((set) => [set, next[set]!++] as const);
  });
  return {
    length,
    at(epoch, place) {
      const at = epoch * length + place;
      const [set, nth] = stretches(Math.floor(at / size))[at % size] as readonly [number, number];
      const order = orders[set] as Order;
      return (starts[set] as number) + order.at(Math.floor(nth / order.length), nth % order.length);
    },
  };
}

/** Of a stretch, by largest remainders. */
export function quotasOf(weights: readonly number[]): number[] {
  const size = STRETCH * Math.ceil((16 * weights.length) / STRETCH);
  const sum = weights.reduce((a, b) => a + b, 0);
  const exact = weights.map((weight) => (weight / sum) * size);
  const quotas = exact.map((share) => Math.max(1, Math.floor(share)));
  const byRest = exact.map((share, i) => [share - (quotas[i] as number), i] as const).sort(([a, i], [b, j]) => b - a || i - j);
  let left = size - quotas.reduce((a, b) => a + b, 0);
  for (const [, i] of byRest.slice(0, Math.max(0, left))) {
    quotas[i]!++;
    --left;
  }
  // Sets that were raised to one have taken what others had: the largest give it back.
  while (left++ < 0) quotas[quotas.indexOf(Math.max(...quotas))]!--;
  return quotas;
}

/** What a mixture comes to: each set's share of the rows, and how often its own are gone through while as many are read as all have together. */
export function sharesOf(sets: readonly SetOfRows[], weights: readonly number[]): { share: number; passes: number }[] {
  const quotas = quotasOf(weights);
  const size = quotas.reduce((a, b) => a + b, 0);
  const all = sets.reduce((n, { rows }) => n + rows, 0);
  return sets.map(({ rows }, i) => {
    const share = (quotas[i] as number) / size;
    return { share, passes: (share * all) / rows };
  });
}
