// Options of public calls, as JavaScript passes them: one that nobody knows was meant for something, and says so instead of changing nothing.
import { nearest } from "./checks.js";
import { type AnymalError, expected } from "./errors.js";

/** The names of all of T's options: the compiler misses one that is not there. */
export const optionNames = <T extends object>(all: Readonly<Record<keyof T, true>>): readonly string[] => Object.keys(all);

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
