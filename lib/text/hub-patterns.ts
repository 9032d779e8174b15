// The steps of tokenizer.json that hold expressions, which come from whoever made the file: Split and Replace. What tokenizers (Rust) does with the matches,
// in steps and in an output that the text bounds.
import { Pattern, PatternFault } from "../core/regex/pattern.js";
import { PUBLISHED } from "./published-splits.js";

/** A step of the package; what it does is replaced. */
export interface PatternStep {
  config?: { type?: string; pattern?: { String?: string; Regex?: string }; content?: string; behavior?: string; invert?: boolean };
  pattern?: unknown;
  [member: string]: unknown;
}

type Span = readonly [from: number, to: number];
type Find = (text: string) => Iterable<Span>;

/** What replacing may make of a text, unless it was as long before. */
const LONGEST = 1 << 22;
const TIMES = 8;

/** Of a normaliser, a pre-tokenizer or a decoder. Throws PatternFault for an expression that is not read. */
export function boundStep(step: PatternStep): void {
  const { type, content = "", behavior = "Isolated", invert = false } = step.config ?? {};
  if (type !== "Split" && type !== "Replace") return;
  const find = finder(step);
  if (type === "Split") step.pre_tokenize_text = (text: string) => split(text, find, behavior, invert);
  else {
    const work = (text: string) => replaced(text, find, content);
    if ("normalize" in step) step.normalize = work;
    else if ("pre_tokenize_text" in step) step.pre_tokenize_text = (text: string) => [work(text)];
    else step.decode_chain = (tokens: readonly string[]) => tokens.map(work);
  }
}

/** What the package makes of ^, and what Oniguruma means by it: behind a last line feed no line begins. */
const LINE_BEGIN = String.raw`(?:(?<![\s\S])|(?<=\n))`;
const ONIGURUMA_BEGIN = String.raw`(?:(?<![\s\S])|(?<=\n)(?=[\s\S]))`;

function finder({ config, pattern }: PatternStep): Find {
  const { String: literal, Regex: expression } = config?.pattern ?? {};
  if (expression === undefined) return (text) => occurrences(text, literal as string);
  const source = (pattern as RegExp).source.replaceAll(LINE_BEGIN, ONIGURUMA_BEGIN); // in JavaScript's words
  if (PUBLISHED.has(expression)) return (text) => nativeMatches(text, new RegExp(source, "gu"));
  const bounded = new Pattern(source, true);
  return (text) => told(bounded.matches(text));
}

/** Oniguruma does not tell of an empty match where the one before it ended. */
function* told(matches: Iterable<Span>): Generator<Span> {
  let last = -1;
  for (const match of matches) {
    if (match[0] < match[1] || match[0] !== last) yield match;
    last = match[1];
  }
}

function* nativeMatches(text: string, expression: RegExp): Generator<Span> {
  for (const { index, 0: found } of text.matchAll(expression)) yield [index, index + found.length];
}

function* occurrences(text: string, literal: string): Generator<Span> {
  if (literal === "") {
    // between all of them, as tokenizers has it
    let at = 0;
    for (const letter of text) {
      yield [at, at];
      at += letter.length;
    }
    yield [at, at];
    return;
  }
  for (let at = text.indexOf(literal); at >= 0; at = text.indexOf(literal, at + literal.length)) yield [at, at + literal.length];
}

function replaced(text: string, find: Find, content: string): string {
  if (text === "") return text; // an expression that fits nothing is not asked of nothing
  const parts: string[] = [];
  let [done, length] = [0, 0];
  for (const [from, to] of find(text)) {
    length += from - done + content.length;
    if (length > Math.max(LONGEST, TIMES * text.length))
      throw new PatternFault(`replacing makes a text of more than ${length} characters of one of ${text.length}`);
    parts.push(text.slice(done, from), content);
    done = to;
  }
  return done === 0 && !parts.length ? text : parts.join("") + text.slice(done);
}

interface Stretch {
  from: number;
  to: number;
  matched: boolean;
}

/** As NormalizedString::split of tokenizers (tokenizers/src/tokenizer/normalizer.rs). */
function split(text: string, find: Find, behavior: string, invert: boolean): string[] {
  const all = stretches(text, find, invert);
  const kept = behavior === "Removed" ? all.filter(({ matched }) => !matched) : merged(all, behavior);
  return kept.filter(({ from, to }) => from < to).map(({ from, to }) => text.slice(from, to));
}

function stretches(text: string, find: Find, invert: boolean): Stretch[] {
  const all: Stretch[] = [];
  let done = 0;
  for (const [from, to] of find(text)) {
    if (done < from) all.push({ from: done, to: from, matched: invert });
    all.push({ from, to, matched: !invert });
    done = to;
  }
  if (done < text.length) all.push({ from: done, to: text.length, matched: invert });
  return all;
}

function merged(all: readonly Stretch[], behavior: string): readonly Stretch[] {
  if (behavior === "Isolated") return all;
  const [next, contiguous] = [behavior === "MergedWithNext", behavior === "Contiguous"];
  const out: Stretch[] = [];
  let before = false;
  for (const one of next ? [...all].reverse() : all) {
    const last = out.at(-1);
    if (last && (contiguous ? one.matched === before : one.matched && !before)) {
      if (next) last.from = one.from;
      else last.to = one.to;
    } else out.push({ ...one });
    before = one.matched;
  }
  return next ? out.reverse() : out;
}
