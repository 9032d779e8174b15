// Options of public calls, as JavaScript passes them: one that nobody knows was meant for something, and says so instead of changing nothing.
import { type AnymalError, expected } from "./errors.js";

/**
 * Throws E_VALUE, or what `fail` makes of the sentence, where `options` has a key that is not `known`. Keys that hold undefined count as absent.
 * `others` says of a name of another library what it is called here, or why it is not there.
 */
export function checkOptions(
  where: string,
  options: object | undefined,
  known: readonly string[],
  { others = {}, fail }: { others?: Readonly<Record<string, string>>; fail?: (key: string, next: string) => AnymalError } = {},
): void {
  if (options === undefined || options === null) return;
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || known.includes(key)) continue;
    const plain = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    const near = known.includes(plain) ? plain : nearest(key, known);
    const next = Object.hasOwn(others, plain)
      ? (others[plain] as string)
      : near
        ? `did you mean "${near}"?`
        : `known are ${known.join(", ")}`;
    throw fail?.(key, next) ?? expected("E_VALUE", where, "options that are known", `"${key}"`, next);
  }
}

/** The known name that was most likely meant. snake_case counts as camelCase. */
export function nearest(name: string, known: readonly string[]): string | undefined {
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
