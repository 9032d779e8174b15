// Values checked in words: what was meant, and which known name an unknown one is nearest to.

/** A value for a message. */
export function shown(value: unknown): string {
  if (typeof value !== "object" && typeof value !== "string") return String(value);
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    return "something that holds itself"; // YAML can say so, and nesting may be too deep
  }
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
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
  not: (value: false): Check => ({ wanted: String(value), fits: (v) => v === value }),
};

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
