// What a template computes with: Python's values. None is null, str is string, bool is boolean, int is number (bigint beyond 2^53); the rest are
// classes. Lists and dicts never change, as in the sandbox that transformers renders in.
import { spendText } from "./budget.js";
import { TemplateFault } from "./fault.js";

export { PartsFault, TemplateFault } from "./fault.js";

export type Value = null | boolean | number | bigint | string | PyObject;

/** The value, or another where there is none: None is one. */
export const or = (value: Value | undefined, otherwise: () => Value): Value => (value === undefined ? otherwise() : value);

export abstract class PyObject {
  /** As Python's type(x).__name__. */
  abstract readonly type: string;
  /** Attributes beside those that every value of the type has. */
  attribute(_name: string): Value | undefined {
    return undefined;
  }
}

/** A name or an attribute that is not there: prints as nothing, is false, and refuses whatever else is asked of it. */
export class Undefined extends PyObject {
  readonly type = "Undefined";
  constructor(readonly hint: string) {
    super();
  }
  fail(): never {
    throw new TemplateFault(this.hint);
  }
}

/** A float, apart from int since 1.0 prints with its point. */
export class Float extends PyObject {
  readonly type = "float";
  constructor(readonly value: number) {
    super();
  }
}

export class List extends PyObject {
  readonly type = "list";
  /** `parts`: the content of a message, which is never printed as a list. */
  constructor(
    readonly items: readonly Value[],
    readonly parts = false,
  ) {
    super();
  }
}

export class Tuple extends PyObject {
  readonly type = "tuple";
  constructor(readonly items: readonly Value[]) {
    super();
  }
}

export class Dict extends PyObject {
  readonly type: string = "dict";
  readonly entries = new Map<string, readonly [key: Value, value: Value]>();
  constructor(
    entries: Iterable<readonly [Value, Value]> = [],
    readonly parts = false,
  ) {
    super();
    for (const [key, value] of entries) {
      const at = keyOf(key);
      this.entries.set(at, [this.entries.get(at)?.[0] ?? key, value]);
    }
  }
  get(key: Value): Value | undefined {
    return this.entries.get(keyOf(key))?.[1];
  }
}

/** dict.keys(), .values() and .items(). */
export class DictView extends PyObject {
  constructor(
    readonly type: "dict_keys" | "dict_values" | "dict_items",
    readonly dict: Dict,
  ) {
    super();
  }
  get items(): Value[] {
    return [...this.dict.entries.values()].map(([key, value]) =>
      this.type === "dict_keys" ? key : this.type === "dict_values" ? value : new Tuple([key, value]),
    );
  }
}

export class Range extends PyObject {
  readonly type = "range";
  constructor(
    readonly start: number,
    readonly stop: number,
    readonly step: number,
  ) {
    super();
  }
  get length(): number {
    return Math.max(0, Math.ceil((this.stop - this.start) / this.step));
  }
  at(i: number): number {
    return this.start + i * this.step;
  }
}

/** Walks its values once, as a generator does. */
export class Walk extends PyObject {
  readonly #from: Iterator<Value>;
  constructor(
    values: Iterable<Value>,
    readonly type = "generator",
  ) {
    super();
    this.#from = values[Symbol.iterator]();
  }
  [Symbol.iterator](): Iterator<Value> {
    return { next: () => this.#from.next() }; // leaving early keeps the rest
  }
}

export type Kwargs = ReadonlyMap<string, Value>;

export class Callable extends PyObject {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[], kwargs: Kwargs) => Value,
    readonly type = "builtin_function_or_method",
  ) {
    super();
  }
}

/** The one value that a template may change. */
export class Namespace extends PyObject {
  readonly type = "Namespace";
  readonly values = new Map<string, Value>();
  override attribute(name: string): Value | undefined {
    return this.values.get(name);
  }
}

/** Equal values have equal keys: 1, 1.0 and true are one. */
export function keyOf(value: Value): string {
  if (value === null) return "none";
  if (typeof value === "string") return `s${value}`;
  if (typeof value === "boolean") return `n${Number(value)}`;
  if (typeof value === "number" || typeof value === "bigint") return `n${value}`;
  if (value instanceof Float) return `n${Number.isInteger(value.value) ? BigInt(value.value) : value.value}`;
  if (value instanceof Tuple) {
    const key = `(${value.items.map((item) => `${JSON.stringify(keyOf(item))},`).join("")})`;
    spendText(key.length); // of a tuple that holds one twice that holds one twice
    return key;
  }
  if (value instanceof List || value instanceof Dict) throw new TemplateFault(`unhashable type: '${value.type}'`);
  let identity = identities.get(value);
  if (identity === undefined) {
    identity = value instanceof Undefined ? "u" : `o${++objects}`;
    identities.set(value, identity);
  }
  return identity;
}
const identities = new WeakMap<PyObject, string>();
let objects = 0;

/** A whole number as int, whatever its size. */
export const int = (value: bigint): number | bigint => (value >= -9007199254740991n && value <= 9007199254740991n ? Number(value) : value);
/** A number of JavaScript as JSON's reader in Python would have it. */
export const number = (value: number): Value => (Number.isSafeInteger(value) ? value + 0 : new Float(value));

/** From JavaScript: objects and Maps become dicts, iterables lists, functions callables. Throws where a value holds itself. */
export function fromJs(value: unknown, depth = 0): Value {
  if (depth > 200) throw new TemplateFault("values nested more than 200 deep, or one that holds itself");
  if (value === undefined || value === null) return null;
  if (typeof value === "string" || typeof value === "boolean") return value;
  if (typeof value === "bigint") return int(value);
  if (typeof value === "number") return number(value);
  if (value instanceof PyObject) return value;
  if (typeof value === "function")
    return new Callable(value.name, (args) => fromJs((value as (...given: unknown[]) => unknown)(...args.map((arg) => toJs(arg)))));
  if (value instanceof Map) return new Dict([...value].map(([key, entry]) => [fromJs(key, depth + 1), fromJs(entry, depth + 1)] as const));
  if (typeof (value as Iterable<unknown>)[Symbol.iterator] === "function")
    return new List(Array.from(value as Iterable<unknown>, (item) => fromJs(item, depth + 1)));
  if (value instanceof Date) return value.toISOString();
  const entries = Object.entries(value as object).filter(([, entry]) => entry !== undefined);
  return new Dict(entries.map(([key, entry]) => [key, fromJs(entry, depth + 1)] as const));
}

/** For functions that a caller passes in. */
function toJs(value: Value): unknown {
  if (value instanceof Float) return value.value;
  if (value instanceof List || value instanceof Tuple) return value.items.map(toJs);
  if (value instanceof Dict) return Object.fromEntries([...value.entries.values()].map(([key, entry]) => [String(toJs(key)), toJs(entry)]));
  return value instanceof Undefined ? undefined : value;
}
