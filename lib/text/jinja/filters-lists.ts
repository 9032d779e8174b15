// Filters of lists and dicts.
import { bind, wantInt, wantText } from "./arguments.js";
import { spend, spendText } from "./budget.js";
import type { Filter } from "./filter.js";
import { formatFilter } from "./filters-text.js";
import { member } from "./members.js";
import { binary, compare, equal, iterate, truth } from "./operators.js";
import { str, typeName } from "./repr.js";
import { characters } from "./strings.js";
import { testNamed } from "./tests.js";
import { Dict, DictView, type Kwargs, keyOf, List, or, Range, TemplateFault, Tuple, Undefined, type Value, Walk } from "./values.js";

type Getter = (item: Value) => Value;

/** Reads "a.b.0" of an item, or the item itself. */
function getter(path: Value | undefined, otherwise?: Value): Getter {
  if (path === undefined || path === null) return (item) => item;
  const parts = typeof path === "string" ? path.split(".").map((part) => (/^\d+$/.test(part) ? Number(part) : part)) : [path];
  return (item) =>
    parts.reduce<Value>((value, part) => {
      const found = member(value, part);
      return otherwise !== undefined && otherwise !== null && found instanceof Undefined ? otherwise : found;
    }, item);
}

const foldCase = (value: Value): Value => (typeof value === "string" ? value.toLowerCase() : value);
const folding =
  (read: Getter, caseSensitive: Value | undefined): Getter =>
  (item) =>
    truth(caseSensitive ?? false) ? read(item) : foldCase(read(item));

/** sorted(): equals stay in order, in reverse too. */
function sorted(items: readonly Value[], key: Getter, reverse: boolean): Value[] {
  const keyed = items.map((item) => [key(item), item] as const);
  keyed.sort(([a], [b]) => (reverse ? compare(b, a) : compare(a, b)));
  return keyed.map(([, item]) => item);
}

function sort(value: Value, reverse: Value = false, caseSensitive: Value = false, path: Value = null): Value {
  const paths = typeof path === "string" ? path.split(",") : [path];
  const keys = paths.map((one) => folding(getter(one), caseSensitive));
  return new List(sorted([...iterate(value)], (item) => new List(keys.map((key) => key(item))), truth(reverse)));
}

function* unique(value: Value, caseSensitive: Value = false, path?: Value): Generator<Value> {
  const key = folding(getter(path), caseSensitive);
  const seen = new Set<string>();
  for (const item of iterate(value)) {
    const at = keyOf(key(item));
    if (!seen.has(at)) yield item;
    seen.add(at);
  }
}

const extreme =
  (sign: number) =>
  (value: Value, caseSensitive: Value = false, path?: Value): Value => {
    const key = folding(getter(path), caseSensitive);
    let best: Value | undefined;
    for (const item of iterate(value)) if (best === undefined || sign * compare(key(item), key(best)) > 0) best = item;
    return or(best, () => new Undefined("No aggregated item, sequence was empty."));
  };

function dictSort(value: Value, caseSensitive: Value = false, by: Value = "key", reverse: Value = false): Value {
  if (by !== "key" && by !== "value") throw new TemplateFault('You can only sort by either "key" or "value"');
  if (value instanceof Undefined) value.fail();
  if (!(value instanceof Dict)) throw new TemplateFault(`'${typeName(value)}' object has no attribute 'items'`);
  const key = folding((entry) => (entry as Tuple).items[by === "key" ? 0 : 1] as Value, caseSensitive);
  return new List(
    sorted(
      [...value.entries.values()].map((entry) => new Tuple(entry)),
      key,
      truth(reverse),
    ),
  );
}

function groupBy(value: Value, path: Value | undefined, otherwise?: Value, caseSensitive: Value = false): Value {
  const read = getter(path, otherwise);
  const key = folding(read, caseSensitive);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const item of sorted([...iterate(value)], key, false)) {
    const at = key(item);
    const last = groups.at(-1);
    if (last && equal(last.key, at)) last.items.push(item);
    else groups.push({ key: at, items: [item] });
  }
  return new List(groups.map(({ items }) => new Group(read(items[0] as Value), new List(items))));
}
/** A tuple whose members have names too. */
class Group extends Tuple {
  override attribute(name: string): Value | undefined {
    return name === "grouper" ? this.items[0] : name === "list" ? this.items[1] : undefined;
  }
  constructor(grouper: Value, list: List) {
    super([grouper, list]);
  }
}

function join(value: Value, separator: Value = "", path?: Value): string {
  const read = getter(path);
  const glue = str(separator);
  const texts: string[] = [];
  for (const item of iterate(value)) {
    const text = str(read(item));
    spendText(text.length + glue.length);
    texts.push(text);
  }
  return texts.join(glue);
}

function first(value: Value): Value {
  for (const item of iterate(value)) return item;
  return new Undefined("No first item, sequence was empty.");
}

const canReverse = (value: Value) =>
  [List, Tuple, Dict, DictView, Range, Undefined].some((type) => value instanceof type) || typeof value === "string";

function last(value: Value): Value {
  if (!canReverse(value)) throw new TemplateFault(`'${typeName(value)}' object is not reversible`);
  return or([...iterate(value)].at(-1), () => new Undefined("No last item, sequence was empty."));
}

function reverse(value: Value): Value {
  if (typeof value === "string") return characters(value).reverse().join("");
  const items = [...iterate(value)].reverse();
  return canReverse(value) ? new Walk(items, `${value instanceof List ? "list_" : ""}reverseiterator`) : new List(items);
}

function* batch(value: Value, size: number, fill: Value): Generator<Value> {
  let row: Value[] = [];
  for (const item of iterate(value)) {
    if (row.length === size) {
      yield new List(row);
      row = [];
    }
    row.push(item);
  }
  if (!row.length) return;
  if (fill !== null) for (; row.length < size; spend()) row.push(fill);
  yield new List(row);
}

function* slices(value: Value, count: number, fill: Value): Generator<Value> {
  const items = [...iterate(value)];
  if (count === 0) throw new TemplateFault("integer division or modulo by zero");
  const [each, more] = [Math.floor(items.length / count), items.length % count];
  for (let n = 0, from = 0; n < count; ++n) {
    spend(8);
    const to = from + each + (n < more ? 1 : 0);
    yield new List(fill !== null && n >= more ? [...items.slice(from, to), fill] : items.slice(from, to));
    from = to;
  }
}

function sum(value: Value, path: Value | undefined, start: Value = 0): Value {
  if (typeof start === "string") throw new TemplateFault("sum() can't sum strings [use ''.join(seq) instead]");
  const read = getter(path);
  let total: Value = start;
  for (const item of iterate(value)) total = binary("+", total, read(item));
  return total;
}

type Find = (name: string) => Filter | undefined;

function* map(value: Value, args: readonly Value[], kwargs: Kwargs, find: Find): Generator<Value> {
  if (!truth(value)) return;
  const run = mapper(args, kwargs, find);
  for (const item of iterate(value)) yield run(item);
}

function mapper(args: readonly Value[], kwargs: Kwargs, find: Find): Getter {
  if (!args.length && kwargs.has("attribute")) {
    for (const name of kwargs.keys())
      if (name !== "attribute" && name !== "default") throw new TemplateFault(`Unexpected keyword argument '${name}'`);
    return getter(kwargs.get("attribute"), kwargs.get("default"));
  }
  if (!args.length) throw new TemplateFault("map requires a filter argument");
  const name = wantText(args[0], "map's filter");
  const filter = find(name);
  if (!filter) throw new TemplateFault(`No filter named ${JSON.stringify(name)}.`);
  return (item) => filter(item, args.slice(1), kwargs);
}

/** select, reject, selectattr and rejectattr. */
const selector =
  (keep: boolean, byAttribute: boolean): Filter =>
  (value, args) =>
    new Walk(selected(value, args, keep, byAttribute));

function* selected(value: Value, args: readonly Value[], keep: boolean, byAttribute: boolean): Generator<Value> {
  if (!truth(value)) return;
  if (byAttribute && !args.length) throw new TemplateFault("Missing parameter for attribute name");
  const read = byAttribute ? getter(args[0]) : getter(undefined);
  const [name, ...rest] = byAttribute ? args.slice(1) : args;
  const test = name === undefined ? truth : testNamed(wantText(name, "the test's name"));
  for (const item of iterate(value)) if (test(read(item), ...rest) === keep) yield item;
}

type Run = (value: Value, ...given: (Value | undefined)[]) => Value;
const given = (name: string, names: readonly string[], run: Run): [string, Filter] => [
  name,
  (value, args, kwargs) => run(value, ...bind(`do_${name}`, names, args, kwargs)),
];

/** `find`: any filter by its name, as map() applies it. */
export const listFilters = (find: Find): readonly [string, Filter][] => [
  given("batch", ["linecount", "fill_with?"], (value, size, fill = null) => new Walk(batch(value, wantInt(size, 0), fill))),
  given("dictsort", ["case_sensitive?", "by?", "reverse?"], dictSort),
  given("first", [], first),
  given("groupby", ["attribute", "default?", "case_sensitive?"], groupBy),
  given("join", ["d?", "attribute?"], join),
  given("last", [], last),
  given("max", ["case_sensitive?", "attribute?"], extreme(1)),
  given("min", ["case_sensitive?", "attribute?"], extreme(-1)),
  given("reverse", [], reverse),
  given("slice", ["slices", "fill_with?"], (value, count, fill = null) => new Walk(slices(value, wantInt(count, 0), fill))),
  given("sort", ["reverse?", "case_sensitive?", "attribute?"], sort),
  given("sum", ["attribute?", "start?"], sum),
  given("unique", ["case_sensitive?", "attribute?"], (value, caseSensitive, path) => new Walk(unique(value, caseSensitive, path))),
  ["format", formatFilter],
  ["map", (value, args, kwargs) => new Walk(map(value, args, kwargs, find))],
  ["select", selector(true, false)],
  ["reject", selector(false, false)],
  ["selectattr", selector(true, true)],
  ["rejectattr", selector(false, true)],
];
