// Filters of text.
import { wantInt, wantText } from "./arguments.js";
import { spend, spendText } from "./budget.js";
import { percent } from "./format.js";
import { isIterable, iterate, lengthOf, truth } from "./operators.js";
import { str, typeName } from "./repr.js";
import * as strings from "./strings.js";
import { Dict, List, TemplateFault, Tuple, Undefined, type Value } from "./values.js";

type Given = readonly [names: readonly string[], run: (value: Value, ...given: (Value | undefined)[]) => Value];

const HTML: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;" };
const escaped = (value: Value) => str(value).replace(/[&<>"']/g, (character) => HTML[character] as string);

/** A word begins behind a blank, a hyphen or an opening bracket. */
function title(text: string): string {
  return text
    .split(/([-\s({[<]+)/)
    .map((word) => strings.upper(word.slice(0, 1)) + strings.lower(word.slice(1)))
    .join("");
}

function indent(value: Value, width: Value = 4, first: Value = false, blank: Value = false): string {
  if (value instanceof Undefined) value.fail();
  const margin = typeof width === "string" ? width : spaces(wantInt(width, 4));
  const lines = strings.splitLines(`${wantText(value, "indent's value")}\n`, false);
  spendText(lines.reduce((sum, line) => sum + line.length + margin.length + 1, 0));
  const indented = lines.map((line, i) => (i && (truth(blank) || line) ? margin + line : line)).join("\n");
  return truth(first) ? margin + indented : indented;
}

function spaces(count: number): string {
  spendText(count);
  return " ".repeat(Math.max(0, count));
}

function truncate(value: Value, length: Value = 255, killWords: Value = false, end: Value = "...", leeway: Value = 5): Value {
  const [most, mark] = [wantInt(length, 255), wantText(end, "truncate's end")];
  const slack = leeway === null ? 5 : wantInt(leeway, 5);
  if (most < mark.length) throw new TemplateFault(`expected length >= ${mark.length}, got ${most}`);
  if (slack < 0) throw new TemplateFault(`expected leeway >= 0, got ${slack}`);
  const count = lengthOf(value);
  if (count === undefined) throw new TemplateFault(`object of type '${typeName(value)}' has no len()`);
  if (count <= most + slack) return value;
  const cut = strings
    .characters(wantText(value, "truncate's value"))
    .slice(0, most - mark.length)
    .join("");
  return (truth(killWords) ? cut : (strings.split(cut, " ", 1, true)[0] as string)) + mark;
}

/** textwrap.wrap, line by line, without a break at hyphens. */
function wrap(value: Value, width: Value = 79, breakLong: Value = true, between: Value = "\n", hyphens: Value = true): string {
  const most = wantInt(width, 79);
  if (most < 1) throw new TemplateFault(`invalid width ${most} (must be > 0)`);
  const glue = between === null ? "\n" : wantText(between, "wrapstring");
  return strings
    .splitLines(wantText(value, "wordwrap's value"), false)
    .map((line) => wrapLine(line, most, truth(breakLong), truth(hyphens)).join(glue))
    .join(glue);
}

function wrapLine(line: string, width: number, breakLong: boolean, hyphens: boolean): string[] {
  spend(line.length / 4); // each of its places is looked at from both sides
  const words = line
    .split(hyphens ? /([\t-\r ]+|(?<=[\w!"'&.,?]{2}-)(?=\w{2})|(?<=\w{2}-)(?=\w{2}))/ : /([\t-\r ]+)/)
    .filter(Boolean)
    .reverse();
  const lines: string[] = [];
  while (words.length) {
    spend();
    let [taken, length] = [[] as string[], 0];
    if (lines.length && !(words.at(-1) as string).trim()) words.pop();
    for (let word = words.at(-1); word !== undefined && length + word.length <= width; word = words.at(-1)) {
      taken.push(words.pop() as string);
      length += word.length;
    }
    const long = words.at(-1);
    if (long !== undefined && long.length > width) {
      if (breakLong) {
        const room = width - length || (length ? 0 : width);
        taken.push(long.slice(0, room));
        words[words.length - 1] = long.slice(room);
      } else if (!taken.length) taken.push(words.pop() as string);
    }
    if (taken.length && !(taken.at(-1) as string).trim()) taken = taken.slice(0, -1);
    if (taken.length) lines.push(taken.join(""));
  }
  return lines;
}

/** urllib's quote; a slash stays, save in a query. */
function quote(value: Value, query = false): string {
  const given = str(value);
  if (/\p{Surrogate}/u.test(given)) throw new TemplateFault("urlencode takes text that UTF-8 can write, without half of a character"); // as Python has it
  const text = encodeURIComponent(given).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
  return query ? text.replaceAll("%20", "+") : text.replaceAll("%2F", "/");
}

function urlEncode(value: Value): string {
  if (typeof value === "string" || !isIterable(value)) return quote(value);
  const pairs = value instanceof Dict ? [...value.entries.values()] : [...iterate(value)].map(pairOf);
  return pairs.map(([key, entry]) => `${quote(key, true)}=${quote(entry, true)}`).join("&");
}

function pairOf(value: Value): readonly [Value, Value] {
  if ((value instanceof Tuple || value instanceof List) && value.items.length === 2) return value.items as [Value, Value];
  throw new TemplateFault("urlencode takes pairs of a key and a value");
}

const stripTags = (value: Value) =>
  str(value)
    .replace(/<!--.*?-->/gs, "")
    .replace(/<[^>]*>/g, "")
    .split(/\s+/)
    .filter(Boolean)
    .join(" ")
    .replace(
      /&(lt|gt|quot|#34|#39|amp);/g,
      (_, name: string) => ({ lt: "<", gt: ">", quot: '"', "#34": '"', "#39": "'", amp: "&" })[name] as string,
    );

export const TEXT_FILTERS: Readonly<Record<string, Given>> = {
  capitalize: [[], (value) => strings.capitalize(str(value))],
  center: [["width?"], (value, width) => strings.padded(str(value), wantInt(width, 80), "center")],
  escape: [[], escaped],
  forceescape: [[], escaped],
  indent: [["width?", "first?", "blank?"], indent],
  lower: [[], (value) => strings.lower(str(value))],
  replace: [
    ["old", "new", "count?"],
    (value, old, by, most) => strings.replace(str(value), str(old as Value), str(by as Value), most === null ? -1 : wantInt(most, -1)),
  ],
  safe: [[], str],
  striptags: [[], stripTags],
  title: [[], (value) => title(str(value))],
  trim: [
    ["chars?"],
    (value, chars) => strings.strip(str(value), chars === undefined || chars === null ? undefined : wantText(chars, "strip arg")),
  ],
  truncate: [["length?", "killwords?", "end?", "leeway?"], truncate],
  upper: [[], (value) => strings.upper(str(value))],
  urlencode: [[], urlEncode],
  wordcount: [[], (value) => str(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0],
  wordwrap: [["width?", "break_long_words?", "wrapstring?", "break_on_hyphens?"], wrap],
};

/** value | format(…) is value % …, by position or by name. */
export function formatFilter(value: Value, args: readonly Value[], kwargs: ReadonlyMap<string, Value>): string {
  if (args.length && kwargs.size) throw new TemplateFault("can't handle positional and keyword arguments at the same time");
  return percent(str(value), kwargs.size ? new Dict(kwargs) : new Tuple(args));
}
