// A Jinja template with the settings that transformers renders chat templates in: trim_blocks, lstrip_blocks, loop controls, the immutable sandbox.
import { resetBudget } from "./budget.js";
import { globals } from "./globals.js";
import { run, Scope } from "./interpreter.js";
import type { Frame } from "./nodes.js";
import { parse } from "./parser.js";
import { TemplateFault, type Value } from "./values.js";

export class Template {
  readonly #body: Frame;

  /** Throws TemplateFault where the text is no template. */
  constructor(source: string) {
    this.#body = bounded(() => parse(source));
  }

  /** Throws TemplateFault where the template refuses the values, or computes for too long. */
  render(variables: Iterable<readonly [string, Value]>): string {
    return bounded(() => {
      const scope = new Scope();
      for (const [name, value] of globals()) scope.set(name, value);
      for (const [name, value] of variables) scope.set(name, value);
      return run(this.#body, new Scope(scope, this.#body));
    });
  }
}

/** A macro that calls itself without end, or brackets without end, are the template's fault. */
function bounded<T>(work: () => T): T {
  resetBudget();
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError) throw new TemplateFault(`it nests too deep (${error.message})`, { cause: error });
    throw error;
  }
}
