// `value | name(…)`: Jinja's filters, with transformers' tojson.
import { bind } from "./arguments.js";
import { fixed } from "./decimals.js";
import type { Filter } from "./filter.js";
import { listFilters } from "./filters-lists.js";
import { TEXT_FILTERS } from "./filters-text.js";
import { dumps, jsonOptions } from "./json.js";
import { attribute } from "./members.js";
import { binary, compare, isInt, isNumber, iterate, lengthOf, truth } from "./operators.js";
import { repr, str, typeName } from "./repr.js";
import { Dict, Float, int, List, number, TemplateFault, Tuple, Undefined, type Value, Walk } from "./values.js";

export type { Filter } from "./filter.js";

/** A filter with Python's parameters behind the value. */
type Given = readonly [names: readonly string[], run: (value: Value, ...given: (Value | undefined)[]) => Value];

function floatOf(value: Value): number | undefined {
  if (value instanceof Undefined) value.fail();
  if (isNumber(value)) return value instanceof Float ? value.value : Number(value);
  if (typeof value !== "string") return undefined;
  const text = value.trim().replace(/(?<=\d)_(?=\d)/g, "");
  if (/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)) return Number(text);
  const special = /^([+-]?)(inf(?:inity)?|nan)$/i.exec(text);
  if (!special) return undefined;
  return /nan/i.test(text) ? Number.NaN : special[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
}

const RADIX: Readonly<Record<number, RegExp>> = { 2: /^(?:0b)?_?([01_]+)$/i, 8: /^(?:0o)?_?([0-7_]+)$/i, 16: /^(?:0x)?_?([\da-f_]+)$/i };

/** int(text, base) */
function intOf(text: string, base: number): Value | undefined {
  const [, sign, digits = ""] = /^([+-]?)(.*)$/s.exec(text.trim()) as RegExpExecArray;
  if (digits.length > 4300) return undefined; // as Python, which takes no longer ones
  if (base === 10)
    return /^\d+(?:_\d+)*$/.test(digits) ? int(BigInt(`${digits.replaceAll("_", "")}`) * (sign === "-" ? -1n : 1n)) : undefined;
  const inner = RADIX[base]?.exec(digits)?.[1];
  if (inner === undefined) {
    const value = [...digits.toLowerCase()].every((digit) => Number.parseInt(digit, 36) < base)
      ? Number.parseInt(digits, base)
      : Number.NaN;
    return Number.isNaN(value) ? undefined : number(sign === "-" ? -value : value);
  }
  const prefix = { 2: "0b", 8: "0o", 16: "0x" }[base] as string;
  return int(BigInt(prefix + inner.replaceAll("_", "")) * (sign === "-" ? -1n : 1n));
}

function toInt(value: Value, otherwise: Value = 0, base: Value = 10): Value {
  if (typeof value === "string") {
    const whole = intOf(value, Number(base));
    if (whole !== undefined) return whole;
  } else if (isInt(value)) return typeof value === "boolean" ? Number(value) : value;
  const real = floatOf(value);
  if (real === undefined || !Number.isFinite(real)) return otherwise;
  return int(BigInt(Math.trunc(real)));
}

/** round() to the nearest, of two the even: by the digits of the value, as Python's is. */
function rounded(value: Value, precision: number, method: string): Value {
  if (value instanceof Undefined) value.fail();
  if (!isNumber(value)) throw new TemplateFault(`type ${typeName(value)} doesn't define __round__ method`);
  if (method !== "common") {
    const factor = 10 ** precision;
    const real = value instanceof Float ? value.value : Number(value);
    return new Float((method === "ceil" ? Math.ceil : Math.floor)(real * factor) / factor + 0); // no zero below zero: it was an int
  }
  if (!(value instanceof Float)) {
    if (precision >= 0) return value === true || value === false ? Number(value) : value;
    return int(roundedInt(BigInt(value), 10n ** BigInt(Math.min(-precision, 400))));
  }
  const real = value.value;
  if (!Number.isFinite(real) || precision > 22) return value;
  const size = roundedSize(Math.abs(real), precision);
  return new Float(real < 0 || Object.is(real, -0) ? -size : size);
}

function roundedSize(size: number, precision: number): number {
  if (precision < 0) {
    const whole = Math.floor(size);
    return Number(roundedInt(BigInt(whole), 10n ** BigInt(Math.min(-precision, 400)), size > whole));
  }
  return Number(fixed(size, precision));
}

/** `more`: something less than 1 stands behind it, so it is no tie. */
function roundedInt(value: bigint, unit: bigint, more = false): bigint {
  const rest = ((value % unit) + unit) % unit;
  const low = value - rest;
  if (rest * 2n === unit && !more) return (low / unit) % 2n === 0n ? low : low + unit;
  return rest * 2n >= unit ? low + unit : low;
}

/** As Python's pprint where one line holds it: dictionaries by their keys. */
function pretty(value: Value): string {
  const text = repr(byKeys(value));
  if (text.length > 80)
    throw new TemplateFault("pprint breaks what is longer than 80 characters into lines, which is not supported: take tojson");
  return text;
}
function byKeys(value: Value): Value {
  if (value instanceof List) return new List(value.items.map(byKeys));
  if (value instanceof Tuple) return new Tuple(value.items.map(byKeys));
  if (!(value instanceof Dict)) return value;
  const entries = [...value.entries.values()].map(([key, inside]) => [key, byKeys(inside)] as const);
  const areTexts = entries.every(([key]) => typeof key === "string");
  return new Dict(areTexts ? entries.sort(([a], [b]) => compare(a, b)) : entries);
}

const GENERAL: Readonly<Record<string, Given>> = {
  abs: [
    [],
    (value) => {
      if (value instanceof Undefined) value.fail();
      if (value instanceof Float) return new Float(Math.abs(value.value));
      if (!isInt(value)) throw new TemplateFault(`bad operand type for abs(): '${typeName(value)}'`);
      return Number(value) < 0 ? binary("-", 0, value) : binary("+", value, 0);
    },
  ],
  attr: [
    ["name"],
    (value, name) => {
      if (value instanceof Dict) {
        const found = attribute(new Dict(), str(name as Value));
        if (found instanceof Undefined) return new Undefined(`'dict object' has no attribute ${repr(name as Value)}`);
      }
      return attribute(value, str(name as Value));
    },
  ],
  default: [
    ["default_value?", "boolean?"],
    (value, otherwise = "", boolean = false) => (value instanceof Undefined || (truth(boolean) && !truth(value)) ? otherwise : value),
  ],
  float: [
    ["default?"],
    (value, otherwise = new Float(0)) => (floatOf(value) === undefined ? otherwise : new Float(floatOf(value) as number)),
  ],
  int: [["default?", "base?"], toInt],
  items: [
    [],
    (value) => {
      if (value instanceof Undefined) return new Walk([]);
      if (!(value instanceof Dict)) throw new TemplateFault("Can only get item pairs from a mapping.");
      return new Walk([...value.entries.values()].map((entry) => new Tuple(entry)));
    },
  ],
  length: [
    [],
    (value) => {
      const length = lengthOf(value);
      if (length === undefined) throw new TemplateFault(`object of type '${typeName(value)}' has no len()`);
      return length;
    },
  ],
  list: [[], (value) => new List([...iterate(value)])],
  pprint: [[], pretty],
  round: [["precision?", "method?"], (value, precision = 0, method = "common") => rounded(value, Number(precision), String(method))],
  string: [[], str],
  tojson: [
    ["ensure_ascii?", "indent?", "separators?", "sort_keys?"],
    (value, ascii, indent, separators, sortKeys) => dumps(value, jsonOptions(ascii, indent, separators, sortKeys)),
  ],
  filesizeformat: [["binary?"], (value, binary = false) => fileSize(floatOf(value) ?? Number.NaN, truth(binary))],
};

function fileSize(bytes: number, binary: boolean): string {
  if (Number.isNaN(bytes) || bytes === -Infinity) throw new TemplateFault("could not convert to a number of bytes");
  const base = binary ? 1024 : 1000;
  if (bytes === 1) return "1 Byte";
  if (bytes < base) return `${BigInt(Math.trunc(bytes))} Bytes`;
  const prefixes = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
  const power = Math.min(Math.floor(Math.log(bytes) / Math.log(base)), prefixes.length);
  const prefix = prefixes[power - 1] as string;
  return `${fixed(bytes / base ** power, 1)} ${binary ? `${prefix.toUpperCase()}iB` : `${prefix}B`}`;
}

const given = ([name, [names, run]]: [string, Given]): [string, Filter] => [
  name,
  (value, args, kwargs) => run(value, ...bind(`do_${name}`, names, args, kwargs)),
];

const ALIASES: Readonly<Record<string, string>> = { count: "length", d: "default", e: "escape" };
const named: Map<string, Filter> = new Map([
  ...Object.entries({ ...GENERAL, ...TEXT_FILTERS }).map(given),
  ...listFilters((name) => named.get(name)),
]);
for (const [alias, name] of Object.entries(ALIASES)) named.set(alias, named.get(name) as Filter);

export const FILTERS: ReadonlyMap<string, Filter> = named;
