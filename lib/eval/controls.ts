// Does a model look at its media, or guess from the question? The same questions over blank media, and over another question's media, tell.
import { expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { Draw } from "../data/draw.js";
import { BUILT_IN, kindOf, listed } from "../media/kinds/index.js";
import type { MediaPart } from "../media/part.js";
import { checkLoading, type Loading } from "../media/source.js";

/**
 * As large or as long as `part`, with nothing in it: a black picture, a black clip, silence, a recording of zeros. Its options are those of
 * `part`, without what the blank already is: a window cut out, columns found.
 */
export async function blank<P extends MediaPart>(part: P, loading?: Loading): Promise<P>;
export async function blank(part: MediaPart, loading: Loading = {}): Promise<MediaPart> {
  checkLoading("blank", loading);
  const kind = kindOf(part);
  if (kind) return kind.blank(part, loading) as Promise<MediaPart>;
  const [names, next] = [[...BUILT_IN.keys()], "make parts with "];
  throw expected("E_MODALITY", "blank", `a part of ${listed(names)}`, part?.modality, next + names.map((name) => `${name}()`).join(", "));
}

export interface DerangeOptions {
  seed?: number;
  /** Item i is to get another's place whose answer is not its own. Where one answer is more than half of all, as few get their own as can be. */
  answers?: readonly string[];
  /** Places are taken within a kind of question only, so that what is seen could be asked for; a kind with one item joins the others. */
  kinds?: readonly string[];
}

const DERANGE_OPTIONS = optionNames<DerangeOptions>({ seed: true, answers: true, kinds: true });

/** For each of n items whose media it gets: a permutation in which nobody keeps their own, the same for the same seed. */
export function derange(n: number, options: DerangeOptions = {}): number[] {
  checkOptions("derange", options, DERANGE_OPTIONS);
  const { seed = 0, answers, kinds } = options;
  if (!(Number.isInteger(n) && n >= 2)) throw expected("E_VALUE", "derange", "at least two items to take media from", n);
  for (const [name, list] of Object.entries({ answers, kinds }))
    if (list && list.length !== n) throw expected("E_VALUE", `derange: ${name}`, `one for each of ${n} items`, list.length);
  const draw = new Draw(seed, "derange");
  const places = new Array<number>(n);
  const alone: number[] = [];
  for (const members of grouped(
    Array.from({ length: n }, (_, i) => i),
    (i) => kinds?.[i] ?? "",
  )) {
    if (members.length > 1) rotate(members, answers, draw, places);
    else alone.push(...members);
  }
  if (alone.length > 1) rotate(alone, answers, draw, places);
  else if (alone.length) joinIn(alone[0] as number, answers, draw, places);
  return places;
}

/**
 * Items with equal answers stand side by side, in a random order otherwise, and each takes the place that lies as far on as the largest such
 * group is long: out of its own group, unless that one is more than half of all.
 */
function rotate(members: readonly number[], answers: readonly string[] | undefined, draw: Draw, places: number[]): void {
  const groups = draw.shuffled(grouped(draw.shuffled(members), (i) => answers?.[i] ?? String(i)));
  const order = groups.flat();
  const largest = Math.max(...groups.map((group) => group.length));
  const step = largest < order.length ? largest : 1;
  for (const [at, item] of order.entries()) places[item] = order[(at + step) % order.length] as number;
}

/** One more item for a permutation that is there: it takes what another had, and that one takes its. */
function joinIn(item: number, answers: readonly string[] | undefined, draw: Draw, places: number[]): void {
  const others = draw.shuffled([...places.keys()].filter((i) => i !== item));
  const same = (a: number, b: number) => Number(answers !== undefined && answers[a] === answers[b]);
  const clashes = (other: number) => same(item, places[other] as number) + same(other, item);
  const [first] = others.sort((a, b) => clashes(a) - clashes(b)) as [number];
  places[item] = places[first] as number;
  places[first] = item;
}

function grouped(items: readonly number[], keyOf: (item: number) => string): number[][] {
  const groups = new Map<string, number[]>();
  for (const item of items) {
    const own = groups.get(keyOf(item));
    if (own) own.push(item);
    else groups.set(keyOf(item), [item]);
  }
  return [...groups.values()];
}
