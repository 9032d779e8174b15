// value.name and value[key], with the methods of str, list, tuple and dict.
import { bind, method, wantInt, wantText } from "./arguments.js";
import { spend, spendText } from "./budget.js";
import { format } from "./format.js";
import { equal, isInt, iterate, lengthOf } from "./operators.js";
import { repr, typeName } from "./repr.js";
import * as strings from "./strings.js";
import { Callable, Dict, DictView, Float, List, or, PyObject, Range, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

/** Where a slice begins and ends. */
export class Slice extends PyObject {
  readonly type = "slice";
  constructor(
    readonly from: Value,
    readonly to: Value,
    readonly step: Value,
  ) {
    super();
  }
}

/** What changes a list or a dict: the sandbox keeps them from templates. */
const UNSAFE: Readonly<Record<string, ReadonlySet<string>>> = {
  list: new Set(["append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"]),
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
};

/** of.name: an attribute, else an item. */
export function attribute(of: Value, name: string): Value {
  return or(own(of, name), () => or(item(of, name), () => missing(of, name)));
}

/** of[key]: an item, else an attribute. */
export function member(of: Value, key: Value): Value {
  return or(item(of, key), () => or(typeof key === "string" ? own(of, key) : undefined, () => missing(of, key)));
}

function missing(of: Value, key: Value): Undefined {
  if (of instanceof Undefined) of.fail();
  const name = of === null ? "None" : `${typeName(of)} object`;
  return new Undefined(typeof key === "string" ? `'${name}' has no attribute ${repr(key)}` : `${name} has no element ${repr(key)}`);
}

function own(of: Value, name: string): Value | undefined {
  if (of instanceof Undefined) return of.fail();
  if (UNSAFE[typeName(of)]?.has(name)) return new Unsafe(`access to attribute '${name}' of '${typeName(of)}' object is unsafe.`);
  if (name.startsWith("__")) return undefined;
  if (typeof of === "string") return Object.hasOwn(STRING, name) ? STRING[name]?.(of) : undefined;
  if (of instanceof Dict) return Object.hasOwn(DICT, name) ? DICT[name]?.(of) : undefined;
  if ((of instanceof List || of instanceof Tuple) && (name === "index" || name === "count")) return listMethod(of, name);
  if (of instanceof List && name === "copy") return method("copy", [], () => of);
  return of instanceof PyObject ? of.attribute(name) : undefined;
}
class Unsafe extends Undefined {}

function item(of: Value, key: Value): Value | undefined {
  spend();
  if (of instanceof Undefined) of.fail();
  if (of instanceof Dict) {
    if (key instanceof List || key instanceof Dict) return undefined;
    return key instanceof Slice ? sliced(of, key) : of.get(key);
  }
  if (key instanceof Slice) return sliced(of, key);
  if (!isInt(key) || typeof key === "bigint") return undefined;
  const at = (length: number) => (Number(key) < 0 ? length + Number(key) : Number(key));
  if (typeof of === "string") return /[\ud800-\udfff]/.test(of) ? strings.characters(of)[at(strings.textLength(of))] : of[at(of.length)];
  if (of instanceof List || of instanceof Tuple) return of.items[at(of.items.length)];
  if (of instanceof Range) {
    const i = at(of.length);
    return i >= 0 && i < of.length ? of.at(i) : undefined;
  }
  return undefined;
}

function sliced(of: Value, { from, to, step }: Slice): Value {
  // Unlike an item that is not there, a slice of what has none is an error.
  if (of instanceof Dict) throw new TemplateFault("unhashable type: 'slice'");
  if (!(typeof of === "string" || of instanceof List || of instanceof Tuple || of instanceof Range))
    throw new TemplateFault(`'${typeName(of)}' object is not subscriptable`);
  for (const bound of [from, to, step])
    if (bound !== null && !isInt(bound)) throw new TemplateFault("slice indices must be integers or None or have an __index__ method");
  const length = lengthOf(of) as number;
  const stride = step === null ? 1 : Number(step);
  if (stride === 0) throw new TemplateFault("slice step cannot be zero");
  const clamp = (bound: Value, otherwise: number) => {
    if (bound === null) return otherwise;
    const at = Number(bound) < 0 ? Number(bound) + length : Number(bound);
    return stride > 0 ? Math.min(Math.max(at, 0), length) : Math.min(Math.max(at, -1), length - 1);
  };
  const [first, last] = [clamp(from, stride > 0 ? 0 : length - 1), clamp(to, stride > 0 ? length : -1)];
  if (typeof of === "string") {
    spendText(of.length);
    if (stride === 1 && !/[\ud800-\udfff]/.test(of)) return of.slice(first, Math.max(first, last));
  }
  if (of instanceof Range) return new Range(of.start + first * of.step, of.start + last * of.step, of.step * stride);
  const items: readonly Value[] = typeof of === "string" ? strings.characters(of) : of.items;
  const taken: Value[] = [];
  for (let i = first; stride > 0 ? i < last : i > last; i += stride) taken.push(items[i] as Value);
  spend(taken.length);
  if (typeof of === "string") return (taken as string[]).join("");
  return of instanceof Tuple ? new Tuple(taken) : new List(taken);
}

const listed = (texts: readonly string[]) => new List(texts);
const optionalText = (value: Value | undefined, what: string) =>
  value === undefined || value === null ? undefined : wantText(value, what);

/** startswith and endswith take a tuple too, and where to begin and end. */
function affix(name: "startswith" | "endswith") {
  return (text: string) =>
    method(name, ["/prefix", "/start?", "/end?"], (affixes, start, end) => {
      const part = start === undefined && end === undefined ? text : (sliced(text, new Slice(start ?? null, end ?? null, null)) as string);
      const all = affixes instanceof Tuple ? affixes.items : [affixes];
      if (affixes instanceof Undefined) affixes.fail();
      return all.some((one) => {
        if (typeof one !== "string")
          throw new TemplateFault(`${name} first arg must be str or a tuple of str, not ${typeName((affixes as Value) ?? null)}`);
        return name === "startswith" ? part.startsWith(one) : part.endsWith(one);
      });
    });
}

function finder(name: "find" | "rfind" | "index" | "rindex") {
  return (text: string) =>
    method(name, ["/sub", "/start?", "/end?"], (sub, start, end) => {
      spendText(text.length);
      const all = strings.textLength(text);
      const place = (value: Value | undefined, otherwise: number) => {
        const at = value === null ? otherwise : wantInt(value, otherwise);
        return Math.min(Math.max(at < 0 ? at + all : at, 0), Math.max(all, at));
      };
      const [from, to] = [place(start, 0), Math.min(place(end, all), all)];
      const part = from > to ? undefined : (sliced(text, new Slice(from, to, null)) as string);
      const wanted = wantText(sub, `${name}() argument`);
      const at = part === undefined ? -1 : name.startsWith("r") ? part.lastIndexOf(wanted) : part.indexOf(wanted);
      if (at < 0 && name.endsWith("index")) throw new TemplateFault("substring not found");
      return at < 0 ? -1 : from + strings.textLength((part as string).slice(0, at));
    });
}

function splitter(name: "split" | "rsplit") {
  return (text: string) =>
    method(name, ["sep?", "maxsplit?"], (sep, most) => {
      const separator = optionalText(sep, "sep");
      if (separator === "") throw new TemplateFault("empty separator");
      return listed(strings.split(text, separator, wantInt(most, -1), name === "rsplit"));
    });
}

function partition(name: "partition" | "rpartition") {
  return (text: string) =>
    method(name, ["/sep"], (sep) => {
      const mark = wantText(sep, "sep");
      if (!mark) throw new TemplateFault("empty separator");
      const at = name === "partition" ? text.indexOf(mark) : text.lastIndexOf(mark);
      if (at < 0) return new Tuple(name === "partition" ? [text, "", ""] : ["", "", text]);
      return new Tuple([text.slice(0, at), mark, text.slice(at + mark.length)]);
    });
}

const plain = (name: string, run: (text: string) => Value) => (text: string) => method(name, [], () => run(text));
const stripper = (name: string, ends: "both" | "left" | "right") => (text: string) =>
  method(name, ["/chars?"], (chars) => strings.strip(text, optionalText(chars, `${name} arg`), ends));
const padder = (name: "center" | "ljust" | "rjust") => (text: string) =>
  method(name, ["/width", "/fillchar?"], (width, fill) =>
    strings.padded(text, wantInt(width, 0), name, optionalText(fill, "the fill character")),
  );
const all = (pattern: RegExp) => (text: string) => pattern.test(text);

const STRING: Readonly<Record<string, (text: string) => Callable>> = {
  capitalize: plain("capitalize", strings.capitalize),
  casefold: plain("casefold", (text) => strings.lower(text).replaceAll("ß", "ss")),
  center: padder("center"),
  count: (text) => method("count", ["/sub"], (sub) => strings.count(text, wantText(sub, "count() argument"))),
  endswith: affix("endswith"),
  expandtabs: (text) => method("expandtabs", ["tabsize?"], (size) => expandTabs(text, wantInt(size, 8))),
  find: finder("find"),
  format: (text) =>
    new Callable("format", (args, kwargs) =>
      format(text, args, kwargs, (of, name, byItem) => {
        if (!byItem) return attribute(of, name);
        return member(of, /^\d+$/.test(name) ? Number(name) : name);
      }),
    ),
  index: finder("index"),
  isalnum: plain("isalnum", all(/^[\p{L}\p{N}]+$/u)),
  isalpha: plain("isalpha", all(/^\p{L}+$/u)),
  isascii: plain("isascii", (text) => !/\P{ASCII}/u.test(text)),
  isdecimal: plain("isdecimal", all(/^\p{Nd}+$/u)),
  isdigit: plain("isdigit", all(/^[\p{Nd}²³¹⁰⁴-⁹₀-₉①-⑨]+$/u)),
  isidentifier: plain("isidentifier", all(/^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*$/u)),
  islower: plain("islower", strings.isLower),
  isnumeric: plain("isnumeric", all(/^\p{N}+$/u)),
  isprintable: plain("isprintable", (text) => !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", ""))),
  isspace: plain("isspace", strings.isSpace),
  istitle: plain("istitle", strings.isTitle),
  isupper: plain("isupper", strings.isUpper),
  join: (text) => method("join", ["/iterable"], (items) => joinTexts(text, items as Value)),
  ljust: padder("ljust"),
  lower: plain("lower", strings.lower),
  lstrip: stripper("lstrip", "left"),
  partition: partition("partition"),
  removeprefix: (text) =>
    method("removeprefix", ["/prefix"], (prefix) => {
      const part = wantText(prefix, "removeprefix() argument");
      return text.startsWith(part) ? text.slice(part.length) : text;
    }),
  removesuffix: (text) =>
    method("removesuffix", ["/suffix"], (suffix) => {
      const part = wantText(suffix, "removesuffix() argument");
      return part && text.endsWith(part) ? text.slice(0, -part.length) : text;
    }),
  replace: (text) =>
    method("replace", ["/old", "/new", "/count?"], (old, by, most) =>
      strings.replace(text, wantText(old, "replace() argument 1"), wantText(by, "replace() argument 2"), wantInt(most, -1)),
    ),
  rfind: finder("rfind"),
  rindex: finder("rindex"),
  rjust: padder("rjust"),
  rpartition: partition("rpartition"),
  rsplit: splitter("rsplit"),
  rstrip: stripper("rstrip", "right"),
  split: splitter("split"),
  splitlines: (text) =>
    method("splitlines", ["keepends?"], (keep) => listed(strings.splitLines(text, keep !== undefined && keep !== false && keep !== 0))),
  startswith: affix("startswith"),
  strip: stripper("strip", "both"),
  swapcase: plain("swapcase", strings.swapCase),
  title: plain("title", strings.title),
  upper: plain("upper", strings.upper),
  zfill: (text) =>
    method("zfill", ["/width"], (width) => {
      const sign = /^[+-]/.exec(text)?.[0] ?? "";
      return sign + strings.padded(text.slice(sign.length), wantInt(width, 0) - sign.length, "rjust", "0");
    }),
};

function joinTexts(separator: string, items: Value): string {
  const texts = [...iterate(items)].map((text, i) => {
    if (typeof text === "string") return text;
    throw new TemplateFault(`sequence item ${i}: expected str instance, ${typeName(text)} found`);
  });
  spendText(texts.reduce((sum, text) => sum + text.length + separator.length, 0));
  return texts.join(separator);
}

function expandTabs(text: string, size: number): string {
  let column = 0;
  return text.replace(/\t|[\n\r]|[^\t\n\r]+/g, (part) => {
    const room = size > 0 ? size - (column % size) : 0;
    column = part === "\t" ? column + room : part === "\n" || part === "\r" ? 0 : column + strings.textLength(part);
    if (part !== "\t") return part;
    spendText(room);
    return " ".repeat(room);
  });
}

const view = (type: DictView["type"], name: string) => (dict: Dict) => method(name, [], () => new DictView(type, dict));
const DICT: Readonly<Record<string, (dict: Dict) => Callable>> = {
  copy: (dict) => method("copy", [], () => dict),
  get: (dict) => method("get", ["/key", "/default?"], (key, otherwise = null) => or(dict.get(key as Value), () => otherwise)),
  items: view("dict_items", "items"),
  keys: view("dict_keys", "keys"),
  values: view("dict_values", "values"),
  fromkeys: () =>
    method("fromkeys", ["/keys", "/value?"], (keys, value = null) => new Dict([...iterate(keys as Value)].map((key) => [key, value]))),
};

function listMethod({ items, type }: List | Tuple, name: "index" | "count"): Callable {
  return new Callable(name, (args, kwargs) => {
    const [wanted, start, end] = bind(name, name === "index" ? ["/value", "/start?", "/stop?"] : ["/value"], args, kwargs);
    if (name === "count") return items.filter((other) => equal(other, wanted as Value)).length;
    const clamp = (value: number) => (value < 0 ? Math.max(0, value + items.length) : value);
    const [from, to] = [clamp(wantInt(start, 0)), clamp(wantInt(end, items.length))];
    const at = items.findIndex((other, i) => i >= from && i < to && equal(other, wanted as Value));
    if (at < 0) throw new TemplateFault(type === "list" ? `${repr(wanted as Value)} is not in list` : "tuple.index(x): x not in tuple");
    return at;
  });
}

/** Whether a value can be called, and what calling it gives. */
export function callableOf(value: Value): Callable {
  if (value instanceof Callable) return value;
  if (value instanceof Undefined) value.fail();
  throw new TemplateFault(`'${value instanceof Float ? "float" : typeName(value)}' object is not callable`);
}
