// The regular expressions of an adapter_config.json, which comes from whoever made the adapter: run in steps that are counted, all of one configuration
// together, as PEFT runs them with Python's re.

import type { AnymalError } from "../core/errors.js";
import { Pattern, PatternFault } from "../core/regex/pattern.js";

/** A key for each module of a deep model takes a tenth of it. */
const MOST_STEPS = 1 << 27;
/** Of all expressions together. */
const MOST_INSTRUCTIONS = 1 << 20;
const PLAIN = /^[\w.-]*$/;

export class Expressions {
  constructor(private readonly fail: (expected: string, got: string) => AnymalError) {}
  readonly #made = new Map<string, Pattern>();
  #steps = 0;
  #instructions = 0;

  /** Does the expression fit the whole path? Throws what fail() makes where it is none, or takes too long. */
  fitsWhole(expression: string, path: string): boolean {
    return this.#find(`^(?:${expression})$`, path) !== undefined;
  }

  /** Does it fit the path's last names, as a key of rank_pattern does? */
  fitsEnd(expression: string, path: string): boolean {
    if (!PLAIN.test(expression)) return this.fitsWhole(`(.*\\.)?(${expression})`, path);
    this.#spend(1 + expression.length / 32);
    const begin = path.length - expression.length;
    if (begin < 0 || (begin > 0 && path[begin - 1] !== ".")) return false;
    for (let i = 0; i < expression.length; ++i) if (expression[i] !== "." && expression[i] !== path[begin + i]) return false;
    return true;
  }

  /** Is it the path of a module, or of what lies in one? */
  fitsWithin(expression: string, path: string): boolean {
    return this.#find(`(^|.*\\.)${expression}($|\\..*)`, path) !== undefined;
  }

  /** The number of the layer behind the names that the expression fits. */
  layerOf(expression: string, path: string): number | undefined {
    const found = this.#find(`^.*?\\.${expression}\\.(\\d+)\\.`, path);
    return found === undefined ? undefined : Number(/(\d+)\.$/.exec(found)?.[1]);
  }

  #find(expression: string, path: string): string | undefined {
    const pattern = this.#pattern(expression);
    const before = pattern.steps;
    try {
      for (const [from, to] of pattern.matches(path)) return path.slice(from, to);
      return undefined;
    } catch (cause) {
      if (cause instanceof PatternFault) throw this.#refused(expression, cause);
      throw cause;
    } finally {
      this.#spend(pattern.steps - before);
    }
  }

  #pattern(expression: string): Pattern {
    const known = this.#made.get(expression);
    if (known) return known;
    try {
      const made = new Pattern(expression.replaceAll("(?P<", "(?<")); // as Python spells named groups
      this.#instructions += made.instructions;
      if (this.#instructions > MOST_INSTRUCTIONS) throw new PatternFault("all together are too long");
      this.#made.set(expression, made);
      return made;
    } catch (cause) {
      throw this.#refused(expression, cause as Error);
    }
  }

  #spend(steps: number): void {
    this.#steps += steps;
    if (this.#steps > MOST_STEPS)
      throw this.fail("expressions that take few steps", `ones that take more than ${MOST_STEPS}; name the modules in a list instead`);
  }

  #refused(expression: string, cause: Error): AnymalError {
    const shown = JSON.stringify(expression.length > 80 ? `${expression.slice(0, 80)}…` : expression);
    return this.fail(
      "regular expressions that are bounded",
      `${shown}: ${cause.message.slice(0, 200)}; name the modules in a list instead`,
    );
  }
}
