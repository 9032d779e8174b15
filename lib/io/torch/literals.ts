// Numbers and texts as pickles spell them.
import { quoted } from "./error.js";

/** Bytes, or digits, of an integer. */
const LONGEST = 1024;

export type Fail = (expected: string, got: string) => never;
const exact = (n: bigint): number | bigint => (BigInt.asIntN(54, n) === n ? Number(n) : n);

/** Two's complement, lowest byte first; a bigint where a number would round. */
export function integer(bytes: Uint8Array, fail: Fail): number | bigint {
  if (bytes.length > LONGEST) fail(`integers of at most ${LONGEST} bytes`, `one of ${bytes.length}`);
  if (!bytes.length) return 0;
  return exact(BigInt.asIntN(8 * bytes.length, BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`)));
}

/** A line of protocol 0. With `booleans` 00 and 01 are False and True, which had no sign of their own then. */
export function decimal(text: string, booleans: boolean, fail: Fail): number | bigint | boolean {
  if (booleans && (text === "00" || text === "01")) return text === "01";
  if (text.length > LONGEST || !/^\s*[+-]?\d+L?\s*$/.test(text)) fail("an integer", quoted(text));
  return exact(BigInt(text.replace(/[+L]/g, "").trim()));
}

export function float(text: string, fail: Fail): number {
  const word = /^([+-]?)(inf|nan)$/.exec(text);
  if (word) return word[2] === "nan" ? Number.NaN : word[1] === "-" ? -Infinity : Infinity;
  if (!/^[+-]?[\d.]+(e[+-]?\d+)?$/i.test(text) || Number.isNaN(Number(text))) fail("a number", quoted(text));
  return Number(text);
}

/** As Python's repr() writes bytes: in quotes, with escapes. */
export function literal(text: string, fail: Fail): string {
  const inside = /^\s*(["'])(.*)\1\s*$/s.exec(text)?.[2];
  if (inside === undefined) return fail("a text in quotes", quoted(text));
  const short: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };
  return inside.replace(/\\(x[0-9a-fA-F]{2}|.)/gs, (_, code: string) =>
    code.length === 3 ? String.fromCharCode(Number.parseInt(code.slice(1), 16)) : (short[code] ?? code),
  );
}

/** A line of protocol 0 with \uXXXX and \UXXXXXXXX. */
export function escaped(text: string): string {
  return text.replace(/\\u([0-9a-fA-F]{4})|\\U(0010[0-9a-fA-F]{4}|000[0-9a-fA-F]{5})/g, (_, four?: string, eight?: string) =>
    String.fromCodePoint(Number.parseInt(four ?? (eight as string), 16)),
  );
}
