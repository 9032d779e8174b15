// Python's str: a sequence of code points, with its own idea of white space.
import { spend, spendText } from "./budget.js";
import { SPACE } from "./lexer.js";

const SURROGATE = /[\ud800-\udfff]/;
const WIDE = /[\ud800-\udbff][\udc00-\udfff]/g;

export function characters(text: string): string[] {
  spendText(text.length * 4);
  return SURROGATE.test(text) ? Array.from(text) : text.split("");
}

export function textLength(text: string): number {
  if (!SURROGATE.test(text)) return text.length;
  spendText(text.length);
  return text.length - (text.match(WIDE)?.length ?? 0);
}

const BLANK = new RegExp(`[${SPACE}]`);
const BLANKS = new RegExp(`[${SPACE}]+`, "g");
const isBlank = (character: string) => BLANK.test(character);
/** Where the white space that begins at `from` ends. */
export function pastBlanks(text: string, from: number): number {
  let at = from;
  while (at < text.length && isBlank(text[at] as string)) ++at;
  return at;
}

/** str.strip and its kin: of white space, or of any of the characters. */
export function strip(text: string, chars: string | undefined, ends: "both" | "left" | "right" = "both"): string {
  spendText(text.length);
  const set = chars === undefined ? undefined : new Set(Array.from(chars));
  const drop = (character: string) => (set ? set.has(character) : isBlank(character));
  let [from, to] = [0, text.length];
  if (ends !== "right")
    while (from < to) {
      const character = String.fromCodePoint(text.codePointAt(from) as number);
      if (!drop(character)) break;
      from += character.length;
    }
  if (ends !== "left")
    while (to > from) {
      const wide = to - 2 >= from && (text.codePointAt(to - 2) as number) > 0xffff;
      if (!drop(text.slice(to - (wide ? 2 : 1), to))) break;
      to -= wide ? 2 : 1;
    }
  return text.slice(from, to);
}

/** text.split() at runs of white space. */
function splitBlanks(text: string, most: number): string[] {
  const parts: string[] = [];
  let rest = strip(text, undefined, "left");
  while (rest && (most < 0 || parts.length < most)) {
    BLANKS.lastIndex = 0;
    const gap = BLANKS.exec(rest);
    if (!gap) break;
    parts.push(rest.slice(0, gap.index));
    rest = rest.slice(gap.index + gap[0].length);
  }
  return rest ? [...parts, most >= 0 && parts.length >= most ? rest : strip(rest, undefined, "right")] : parts;
}

function splitBlanksFromRight(text: string, most: number): string[] {
  const parts: string[] = [];
  let rest = strip(text, undefined, "right");
  while (rest && (most < 0 || parts.length < most)) {
    let at = rest.length;
    while (at > 0 && !isBlank(rest[at - 1] as string)) --at;
    parts.unshift(rest.slice(at));
    rest = strip(rest.slice(0, at), undefined, "right");
  }
  return rest ? [rest, ...parts] : parts;
}

export function split(text: string, separator: string | undefined, most: number, fromRight = false): string[] {
  spendText(text.length);
  if (separator === undefined) {
    if (most < 0 || !fromRight) return counted(most < 0 ? strip(text, undefined).split(BLANKS).filter(Boolean) : splitBlanks(text, most));
    return counted(splitBlanksFromRight(text, most));
  }
  const parts = text.split(separator);
  if (most < 0 || parts.length <= most + 1) return counted(parts);
  const cut = parts.length - 1 - most;
  return counted(
    fromRight
      ? [parts.slice(0, cut + 1).join(separator), ...parts.slice(cut + 1)]
      : [...parts.slice(0, most), parts.slice(most).join(separator)],
  );
}

function counted(parts: string[]): string[] {
  spend(parts.length);
  return parts;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: what ends a line in Python
const LINE_ENDS = /\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]/g;

export function splitLines(text: string, keepEnds: boolean): string[] {
  spendText(text.length * 4);
  const lines: string[] = [];
  let from = 0;
  for (const { 0: end, index } of text.matchAll(LINE_ENDS)) {
    lines.push(text.slice(from, keepEnds ? index + end.length : index));
    from = index + end.length;
  }
  if (from < text.length) lines.push(text.slice(from));
  return lines;
}

export function replace(text: string, old: string, by: string, most: number): string {
  spendText(text.length);
  if (old === "") return replaceEmpty(text, by, most);
  const parts = split(text, old, most);
  spendText(text.length + parts.length * by.length);
  return parts.join(by);
}

/** Between all characters, and at the ends. A piece at a time: a list of all characters of a long text takes a hundred times its bytes. */
function replaceEmpty(text: string, by: string, most: number): string {
  spendText(text.length * 4);
  const places = textLength(text) + 1;
  const count = most < 0 ? places : Math.min(most, places);
  spendText(text.length + count * by.length);
  const pieces: string[] = [];
  let [piece, at]: [string[], number] = [[], 0];
  for (const character of text) {
    if (at++ < count) piece.push(by);
    piece.push(character);
    if (piece.length < PIECE) continue;
    pieces.push(piece.join(""));
    piece = [];
  }
  if (at < count) piece.push(by);
  return pieces.join("") + piece.join("");
}
const PIECE = 4096;

/** Occurrences that do not overlap. */
export function count(text: string, part: string): number {
  spendText(text.length);
  return part === "" ? textLength(text) + 1 : text.split(part).length - 1;
}

const CASED = /\p{Lu}|\p{Ll}|\p{Lt}/u;
export const capitalize = (text: string): string => {
  const first = String.fromCodePoint(text.codePointAt(0) ?? 32);
  return text ? titleCase(first) + lower(text.slice(first.length)) : "";
};
const titleCase = (character: string): string => {
  const upper = character.toUpperCase();
  return upper.length > character.length ? (upper[0] as string) + upper.slice(1).toLowerCase() : upper;
};
export const lower = (text: string): string => {
  spendText(text.length);
  return text.toLowerCase();
};
export const upper = (text: string): string => {
  spendText(text.length * 2);
  return text.toUpperCase();
};

/** str.title: a capital after whatever is no letter. */
export function title(text: string): string {
  let inside = false;
  return characters(text)
    .map((character) => {
      const written = inside ? character.toLowerCase() : titleCase(character);
      inside = CASED.test(character);
      return written;
    })
    .join("");
}

export function swapCase(text: string): string {
  return characters(text)
    .map((character) =>
      /\p{Lu}/u.test(character) ? character.toLowerCase() : /\p{Ll}/u.test(character) ? character.toUpperCase() : character,
    )
    .join("");
}

/** At least one letter with case, and all of them of that case. */
export const isLower = (text: string): boolean => /\p{Ll}/u.test(text) && !/\p{Lu}|\p{Lt}/u.test(text);
export const isUpper = (text: string): boolean => /\p{Lu}/u.test(text) && !/\p{Ll}|\p{Lt}/u.test(text);
export const isSpace = (text: string): boolean => text !== "" && !new RegExp(`[^${SPACE}]`).test(text);
export function isTitle(text: string): boolean {
  let [inside, any] = [false, false];
  for (const character of characters(text)) {
    const capital = /\p{Lu}|\p{Lt}/u.test(character);
    if (capital === inside && CASED.test(character)) return false;
    inside = CASED.test(character);
    any ||= inside;
  }
  return any;
}

/** Padded to a width in characters, the text in the middle, left or right. */
export function padded(text: string, width: number, side: "center" | "ljust" | "rjust", fill = " "): string {
  const room = width - textLength(text);
  if (room <= 0) return text;
  spendText(width);
  const left = side === "center" ? Math.floor(room / 2) + (room & width & 1) : side === "rjust" ? room : 0;
  return fill.repeat(left) + text + fill.repeat(room - left);
}
