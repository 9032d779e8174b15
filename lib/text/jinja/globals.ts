// What every template may call: Jinja's range, dict, namespace, cycler and joiner, transformers' raise_exception and strftime_now.
import { bind, method, wantInt, wantText } from "./arguments.js";
import { iterate } from "./operators.js";
import { str } from "./repr.js";
import { strftime } from "./strftime.js";
import { Callable, Dict, type Kwargs, Namespace, Range, TemplateFault, type Value } from "./values.js";

/** The sandbox makes no longer ones. */
const LONGEST_RANGE = 100_000;

function range(args: readonly Value[]): Value {
  if (!args.length || args.length > 3) throw new TemplateFault(`range expected 1 to 3 arguments, got ${args.length}`);
  const [a = 0, b, step = 1] = args.map((arg) => wantInt(arg, 0));
  if (step === 0) throw new TemplateFault("range() arg 3 must not be zero");
  const made = b === undefined ? new Range(0, a, 1) : new Range(a, b, step);
  if (made.length > LONGEST_RANGE)
    throw new TemplateFault(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${LONGEST_RANGE}).`);
  return made;
}

/** dict(…): of a mapping or of pairs, and of names. */
function dict(args: readonly Value[], kwargs: Kwargs): Dict {
  const [from] = bind("dict", ["/mapping?"], args, new Map());
  const entries: (readonly [Value, Value])[] = [];
  if (from instanceof Dict) entries.push(...from.entries.values());
  else if (from !== undefined)
    for (const pair of iterate(from)) {
      const [key, value, ...more] = [...iterate(pair)];
      if (key === undefined || value === undefined || more.length)
        throw new TemplateFault("dictionary update sequence element has to have length 2");
      entries.push([key, value]);
    }
  return new Dict([...entries, ...kwargs]);
}

function namespace(args: readonly Value[], kwargs: Kwargs): Value {
  const made = new Namespace();
  for (const [key, value] of dict(args, kwargs).entries.values()) made.values.set(str(key), value);
  return made;
}

class Cycler extends Callable {
  #at = 0;
  constructor(private readonly items: readonly Value[]) {
    super("cycler", () => this.items[0] as Value, "Cycler");
    if (!items.length) throw new TemplateFault("at least one item has to be provided");
  }
  override attribute(name: string): Value | undefined {
    const current = this.items[this.#at] as Value;
    if (name === "current") return current;
    if (name === "reset")
      return method("reset", [], () => {
        this.#at = 0;
        return null;
      });
    if (name !== "next") return undefined;
    return method("next", [], () => {
      const value = this.items[this.#at] as Value;
      this.#at = (this.#at + 1) % this.items.length;
      return value;
    });
  }
}

function joiner(args: readonly Value[], kwargs: Kwargs): Value {
  const [separator = ", "] = bind("joiner", ["sep?"], args, kwargs);
  let used = false;
  return new Callable(
    "joiner",
    () => {
      const text = used ? separator : "";
      used = true;
      return text;
    },
    "Joiner",
  );
}

/** Of one rendering. */
export function globals(): Map<string, Value> {
  const named = (name: string, call: Callable["call"]) => [name, new Callable(name, call)] as const;
  return new Map<string, Value>([
    named("range", range),
    named("dict", dict),
    named("namespace", namespace),
    named("cycler", (args) => new Cycler(args)),
    named("joiner", joiner),
    ["raise_exception", method("raise_exception", ["message"], (message) => fail(str(message as Value)))],
    ["strftime_now", method("strftime_now", ["format"], (format) => strftime(new Date(), wantText(format, "strftime() argument 1")))],
  ]);
}

function fail(message: string): never {
  throw new TemplateFault(message);
}
