// Values checked in words: what was meant, and which known name an unknown one is nearest to.

/** A value for a message, in so many characters. Any value, from whomever: JSON may be nested deeper than the stack, YAML may hold itself. */
export function shown(value: unknown, most = 200): string {
  if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
  if (typeof value !== "object" && typeof value !== "string") return String(value);
  let text: string;
  try {
    text = JSON.stringify(typeof value === "string" ? value.slice(0, most + 1) : value) ?? "an object";
  } catch (error) {
    return error instanceof RangeError ? "something nested too deep to be shown" : "something that holds itself";
  }
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

export interface Check {
  /** In words, after "expected … to be". */
  wanted: string;
  fits: (value: unknown) => boolean;
}
export type Schema = Readonly<Record<string, Check>>;

export const is = {
  integer: (least = 0): Check => ({
    wanted: `an integer of at least ${least}`,
    fits: (v) => Number.isInteger(v) && (v as number) >= least,
  }),
  /** Of what comes from others: what is above must not cost memory. */
  upTo: (most: number, least = 0): Check => ({
    wanted: `an integer from ${least} to ${most}`,
    fits: (v) => Number.isInteger(v) && (v as number) >= least && (v as number) <= most,
  }),
  number: (least = 0, below = Infinity): Check => ({
    wanted: below === Infinity ? `a number of at least ${least}` : `a number from ${least} to below ${below}`,
    fits: (v) => typeof v === "number" && v >= least && v < below,
  }),
  flag: { wanted: "true or false", fits: (v: unknown) => typeof v === "boolean" } satisfies Check,
  text: { wanted: "a text", fits: (v: unknown) => typeof v === "string" && v !== "" } satisfies Check,
  object: { wanted: "a mapping", fits: isObject } satisfies Check,
  oneOf: (...values: readonly string[]): Check => ({
    wanted: `one of ${values.join(", ")}`,
    fits: (v) => typeof v === "string" && values.includes(v),
  }),
  listOf: (one: Check): Check => ({
    wanted: `a list, each ${one.wanted}`,
    fits: (v) => Array.isArray(v) && v.every((each) => one.fits(each)),
  }),
  either: (...checks: readonly Check[]): Check => ({
    wanted: checks.map(({ wanted }) => wanted).join(", or "),
    fits: (v) => checks.some((check) => check.fits(v)),
  }),
  orAbsent: (check: Check): Check => ({ wanted: check.wanted, fits: (v) => v === undefined || check.fits(v) }),
  not: (value: false): Check => ({ wanted: String(value), fits: (v) => v === value }),
};

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Comparing takes the product of two lengths, and no name is longer. */
const LONGEST_NAME = 80;

/** The known name that was most likely meant. snake_case counts as camelCase. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  if (name.length > LONGEST_NAME) return undefined;
  const plain = (text: string) => text.toLowerCase().replace(/[_\-\s]/g, "");
  const far = (a: string, b: string) => (a !== b && (a.startsWith(b) || b.startsWith(a)) ? 1 : distance(a, b));
  const ranked = known.map((candidate) => ({ candidate, far: far(plain(name), plain(candidate)) })).sort((a, b) => a.far - b.far);
  const [best] = ranked;
  return best && best.far <= Math.max(2, Math.ceil(name.length / 3)) ? best.candidate : undefined;
}

/** Levenshtein's. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; ++i) {
    const next = [i];
    for (let j = 1; j <= b.length; ++j) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
