// Arguments of Python's functions: by position or by name.
import { typeName } from "./repr.js";
import { Callable, type Kwargs, TemplateFault, Undefined, type Value } from "./values.js";

export const NO_KWARGS: Kwargs = new Map();

/** The arguments in the order of the names; a name that ends in ? may be left out, one that begins with / goes by position alone. */
export function bind(what: string, names: readonly string[], args: readonly Value[], kwargs: Kwargs): (Value | undefined)[] {
  if (args.length > names.length)
    throw new TemplateFault(`${what}() takes at most ${names.length} argument${names.length === 1 ? "" : "s"} (${args.length} given)`);
  const left = new Set(kwargs.keys());
  const bound = names.map((name, i) => {
    const [, byPosition, plain, optional] = /^(\/?)(\w+)(\??)$/.exec(name) as unknown as [string, string, string, string];
    if (i < args.length) {
      if (!byPosition && left.has(plain)) throw new TemplateFault(`${what}() got multiple values for argument '${plain}'`);
      return args[i];
    }
    if (!byPosition && left.delete(plain)) return kwargs.get(plain);
    if (!optional) throw new TemplateFault(`${what}() missing required argument: '${plain}'`);
    return undefined;
  });
  for (const name of left) throw new TemplateFault(`${what}() got an unexpected keyword argument '${name}'`);
  return bound;
}

/** A method or filter over bound arguments. */
export function method(name: string, names: readonly string[], run: (...given: (Value | undefined)[]) => Value): Callable {
  return new Callable(name, (args, kwargs) => run(...bind(name, names, args, kwargs)));
}

export function wantText(value: Value | undefined, what: string): string {
  if (typeof value === "string") return value;
  if (value instanceof Undefined) value.fail();
  throw new TemplateFault(`${what} must be str, not ${typeName(value ?? null)}`);
}

/** A count that fits an index, or the default where the argument was left out. */
export function wantInt(value: Value | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (typeof value === "number" || typeof value === "boolean") return Number(value);
  if (typeof value === "bigint") throw new TemplateFault("cannot fit 'int' into an index-sized integer");
  if (value instanceof Undefined) value.fail();
  throw new TemplateFault(`'${typeName(value)}' object cannot be interpreted as an integer`);
}
