// Python's operators: truth, equality, order, arithmetic, membership, iteration.
import { spend, spendText } from "./budget.js";
import { percent } from "./format.js";
import { repr, str, typeName } from "./repr.js";
import { characters, textLength } from "./strings.js";
import {
  Callable,
  Dict,
  DictView,
  Float,
  int,
  List,
  Namespace,
  Range,
  TemplateFault,
  Tuple,
  Undefined,
  type Value,
  Walk,
} from "./values.js";

export function truth(value: Value): boolean {
  if (value === null || typeof value === "boolean") return value === true;
  if (typeof value === "string") return value.length > 0;
  if (typeof value !== "object") return value !== 0 && value !== 0n;
  if (value instanceof Undefined) return false;
  if (value instanceof Float) return value.value !== 0;
  return lengthOf(value) !== 0;
}

/** len(value), or undefined where the type has none. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === "string") return textLength(value);
  if (value instanceof Undefined) return 0;
  if (value instanceof List || value instanceof Tuple) return value.items.length;
  if (value instanceof Dict) return value.entries.size;
  if (value instanceof DictView) return value.dict.entries.size;
  if (value instanceof Range) return value.length;
  const length = value !== null && typeof value === "object" && value.type === "LoopContext" ? value.attribute("length") : undefined;
  return typeof length === "number" ? length : undefined;
}

export const isIterable = (value: Value): boolean =>
  value instanceof Walk || (lengthOf(value) !== undefined && !(value instanceof Callable || value instanceof Namespace));

/** The values of an iterable, as they are asked for. */
export function* iterate(value: Value): Generator<Value> {
  for (const item of sourceOf(value)) {
    spend();
    yield item;
  }
}

function sourceOf(value: Value): Iterable<Value> {
  if (typeof value === "string") return characters(value);
  if (value instanceof List || value instanceof Tuple || value instanceof DictView) return value.items;
  if (value instanceof Dict) return [...value.entries.values()].map(([key]) => key);
  if (value instanceof Range) return rangeValues(value);
  if (value instanceof Walk) return value;
  if (value instanceof Undefined) return [];
  throw new TemplateFault(`'${typeName(value)}' object is not iterable`);
}

function* rangeValues(range: Range): Generator<number> {
  for (let i = 0; i < range.length; ++i) yield range.at(i);
}

type Int = number | bigint;
export const isInt = (value: Value): value is Int | boolean =>
  typeof value === "number" || typeof value === "bigint" || typeof value === "boolean";
export const isNumber = (value: Value): value is Int | boolean | Float => isInt(value) || value instanceof Float;
const float = (value: Int | boolean | Float): number => (value instanceof Float ? value.value : Number(value));

export function equal(a: Value, b: Value): boolean {
  spend();
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b) === 0;
  if (typeof a === "string" && typeof b === "string") {
    if (a.length === b.length) spendText(a.length);
    return a === b;
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple))
    return a.items.length === b.items.length && a.items.every((item, i) => equal(item, b.items[i] as Value));
  if (a instanceof Dict && b instanceof Dict) {
    if (a.entries.size !== b.entries.size) return false;
    return [...a.entries].every(([key, [, entry]]) => b.entries.has(key) && equal(entry, b.entries.get(key)?.[1] as Value));
  }
  if (a instanceof Undefined && b instanceof Undefined) return true;
  if (a instanceof Range && b instanceof Range) return repr(a) === repr(b);
  return a === b;
}

/** Below zero, zero, above, or NaN where one of them is. */
function compareNumbers(a: Int | boolean | Float, b: Int | boolean | Float): number {
  if (isInt(a) && isInt(b)) {
    const [x, y] = [BigInt(a), BigInt(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }
  // JavaScript compares a bigint with a float by their exact values.
  const [x, y] = [a instanceof Float ? a.value : BigInt(a), b instanceof Float ? b.value : BigInt(b)];
  if (Number.isNaN(x) || Number.isNaN(y)) return Number.NaN;
  return x < y ? -1 : x > y ? 1 : 0;
}

/** Order of two values; `operator` is for the error where they have none. */
export function compare(a: Value, b: Value, operator = "<"): number {
  spend();
  if (isNumber(a) && isNumber(b)) return compareNumbers(a, b);
  if (typeof a === "string" && typeof b === "string") {
    spendText(Math.min(a.length, b.length));
    return compareText(a, b);
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple)) {
    for (let i = 0; i < Math.min(a.items.length, b.items.length); ++i)
      if (!equal(a.items[i] as Value, b.items[i] as Value)) return compare(a.items[i] as Value, b.items[i] as Value, operator);
    return a.items.length - b.items.length;
  }
  for (const side of [a, b]) if (side instanceof Undefined) side.fail();
  throw new TemplateFault(`'${operator}' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
}

/** By code points: JavaScript's order of UTF-16 puts U+FFFF behind what lies beyond it. */
function compareText(a: string, b: string): number {
  if (!/[\ud800-\udfff]/.test(a + b)) return a < b ? -1 : a > b ? 1 : 0;
  const [x, y] = [characters(a), characters(b)];
  for (let i = 0; i < Math.min(x.length, y.length); ++i) {
    const step = (x[i]?.codePointAt(0) as number) - (y[i]?.codePointAt(0) as number);
    if (step) return step;
  }
  return x.length - y.length;
}

export function contains(container: Value, item: Value): boolean {
  if (typeof container === "string") {
    if (item instanceof Undefined) item.fail();
    if (typeof item !== "string") throw new TemplateFault(`'in <string>' requires string as left operand, not ${typeName(item)}`);
    spendText(container.length);
    return container.includes(item);
  }
  if (container instanceof Dict) return container.get(item) !== undefined;
  if (!isIterable(container)) throw new TemplateFault(`argument of type '${typeName(container)}' is not iterable`);
  for (const other of iterate(container)) if (equal(other, item)) return true;
  return false;
}

const bits = (value: Int | boolean): number => (typeof value === "bigint" ? value.toString(16).length * 4 : 53);

export function binary(operator: string, a: Value, b: Value): Value {
  if (a instanceof Undefined) a.fail();
  if (operator === "%" && typeof a === "string") return percent(a, b);
  if (b instanceof Undefined) b.fail();
  if (isInt(a) && isInt(b)) return ofInts(operator, a, b);
  if (isNumber(a) && isNumber(b)) return new Float(ofFloats(operator, float(a), float(b)));
  if (operator === "+") return joined(a, b);
  if (operator === "*" && isInt(b)) return repeated(a, Number(b));
  if (operator === "*" && isInt(a)) return repeated(b, Number(a));
  throw unsupported(operator, a, b);
}

function unsupported(operator: string, a: Value, b: Value): TemplateFault {
  const name = operator === "**" ? "** or pow()" : operator;
  return new TemplateFault(`unsupported operand type(s) for ${name}: '${typeName(a)}' and '${typeName(b)}'`);
}

function ofInts(operator: string, a: Int | boolean, b: Int | boolean): Value {
  if (operator === "/") {
    if (Number(b) === 0) throw new TemplateFault("division by zero");
    return new Float(Number(a) / Number(b));
  }
  const [x, y] = [BigInt(a), BigInt(b)];
  if (operator === "**") return power(x, y);
  if (operator === "*") spend((bits(a) * bits(b)) / 4096);
  if (operator === "+") return int(x + y);
  if (operator === "-") return int(x - y);
  if (operator === "*") return int(x * y);
  if (y === 0n) throw new TemplateFault("integer division or modulo by zero");
  const rest = ((x % y) + y) % y; // of the divisor's sign
  return int(operator === "%" ? rest : (x - rest) / y);
}

function power(base: bigint, exponent: bigint): Value {
  if (exponent < 0n) {
    if (base === 0n) throw new TemplateFault("0.0 cannot be raised to a negative power");
    return new Float(Number(base) ** Number(exponent));
  }
  if (base !== 0n && base !== 1n && base !== -1n && Number(exponent) * bits(base) > 1 << 20)
    throw new TemplateFault("it makes a number of more than a million bits");
  spend((Number(exponent) * bits(base)) / 64);
  return int(base ** exponent);
}

function ofFloats(operator: string, a: number, b: number): number {
  if (operator === "+") return a + b;
  if (operator === "-") return a - b;
  if (operator === "*") return a * b;
  if (operator === "**") return a ** b;
  if (b === 0)
    throw new TemplateFault(
      operator === "/" ? "float division by zero" : operator === "%" ? "float modulo" : "float floor division by zero",
    );
  if (operator === "/") return a / b;
  // As CPython: the rest has the divisor's sign, as a zero too, and the quotient is the whole number next to what the division gives.
  const rest = a % b;
  const isOther = rest !== 0 && rest < 0 !== b < 0;
  if (operator === "%") return isOther ? rest + b : rest === 0 ? (b < 0 ? -0 : 0) : rest;
  const quotient = (a - rest) / b - Number(isOther);
  if (quotient === 0) return a / b < 0 || Object.is(a / b, -0) ? -0 : 0;
  return Math.floor(quotient) + Number(quotient - Math.floor(quotient) > 0.5);
}

function joined(a: Value, b: Value): Value {
  if (typeof a === "string" && typeof b === "string") {
    spendText(Math.min(a.length, b.length));
    if (a.length + b.length > 1 << 20) spendText(a.length + b.length > 1 << 26 ? a.length + b.length : 0);
    return a + b;
  }
  if ((a instanceof List && b instanceof List) || (a instanceof Tuple && b instanceof Tuple)) {
    spend(a.items.length + b.items.length);
    const items = [...a.items, ...b.items];
    return a instanceof List ? new List(items) : new Tuple(items);
  }
  if (typeof a === "string" || a instanceof List || a instanceof Tuple) {
    if (a instanceof List || a instanceof Tuple)
      throw new TemplateFault(`can only concatenate ${a.type} (not "${typeName(b)}") to ${a.type}`);
    throw new TemplateFault(`can only concatenate str (not "${typeName(b)}") to str`);
  }
  throw unsupported("+", a, b);
}

function repeated(value: Value, times: number): Value {
  const count = Math.max(0, times);
  if (typeof value === "string") {
    spendText(value.length * count);
    return value.repeat(count);
  }
  if (!(value instanceof List || value instanceof Tuple)) {
    if (value instanceof Undefined) value.fail();
    throw unsupported("*", value, times);
  }
  spend(value.items.length * count);
  const items = Array.from({ length: value.items.length * count }, (_, i) => value.items[i % value.items.length] as Value);
  return value instanceof List ? new List(items) : new Tuple(items);
}

export function negated(value: Value): Value {
  if (value instanceof Undefined) value.fail();
  if (value instanceof Float) return new Float(-value.value);
  if (isInt(value)) return int(-BigInt(value));
  throw new TemplateFault(`bad operand type for unary -: '${typeName(value)}'`);
}

export function positive(value: Value): Value {
  if (value instanceof Undefined) value.fail();
  if (isNumber(value)) return value === true || value === false ? Number(value) : value;
  throw new TemplateFault(`bad operand type for unary +: '${typeName(value)}'`);
}

/** a ~ b ~ c */
export function concatenated(values: readonly Value[]): string {
  const texts = values.map(str);
  const longest = Math.max(...texts.map(({ length }) => length));
  const length = texts.reduce((sum, text) => sum + text.length, 0);
  spendText(length > 1 << 26 ? length : length - longest);
  return texts.join("");
}
