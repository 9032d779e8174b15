// A template's text as tokens: jinja2's lexer with trim_blocks and lstrip_blocks, which transformers sets.
import { TemplateFault } from "./values.js";

export type TokenType =
  | "data"
  | "variable_begin"
  | "variable_end"
  | "block_begin"
  | "block_end"
  | "name"
  | "string"
  | "integer"
  | "float"
  | "op"
  | "eof";
export interface Token {
  type: TokenType;
  value: string;
  line: number;
}

const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;
const FLOAT = /(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{Mn}\p{Mc}\p{Nd}\p{Pc}]*/uy;
const STRING = /'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"/sy;
/** Python's \s, which has other members than JavaScript's. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const BLANKS = new RegExp(`[${SPACE}]*`, "y");
const BLANKS_BEHIND = new RegExp(`[${SPACE}]$`);
const ALL_BLANK = new RegExp(`^[${SPACE}]+$`);
const RAW = new RegExp(`\\{%[-+]?[${SPACE}]*raw[${SPACE}]*(?:-%\\}[${SPACE}]*|%\\})`, "y");
const ENDRAW = new RegExp(`\\{%([-+]?)[${SPACE}]*endraw[${SPACE}]*(?:\\+%\\}|-%\\}[${SPACE}]*|%\\}\\n?)`, "g");
const CLOSES: Readonly<Record<string, string>> = { "{": "}", "(": ")", "[": "]" };

export function stripEnd(text: string): string {
  let end = text.length;
  while (end > 0 && BLANKS_BEHIND.test(text[end - 1] as string)) --end;
  return text.slice(0, end);
}

export function tokenize(template: string): Token[] {
  return new Lexer(template).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;
  #newline: number;

  constructor(template: string) {
    // One newline at the end is dropped, and every kind of newline is one.
    this.#source = template.replace(/\r\n?/g, "\n").replace(/\n$/, "");
    this.#newline = this.#newlineFrom(0);
  }

  run(): Token[] {
    while (this.#at < this.#source.length) this.#data();
    this.#push("eof", "");
    return this.#tokens;
  }

  #push(type: TokenType, value: string): void {
    this.#tokens.push({ type, value, line: this.#line });
  }
  /** Found once and not at each token: the next one may be the text's length away. */
  #newlineFrom(at: number): number {
    const found = this.#source.indexOf("\n", at);
    return found < 0 ? Infinity : found;
  }
  #advance(to: number): void {
    for (; this.#newline < to; this.#newline = this.#newlineFrom(this.#newline + 1)) ++this.#line;
    this.#at = to;
  }
  #fail(what: string): never {
    throw new TemplateFault(`${what} (line ${this.#line})`);
  }
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0];
  }

  /** Text up to the next {{, {% or {#, and what that begins. */
  #data(): void {
    let open = this.#at;
    for (;;) {
      open = this.#source.indexOf("{", open);
      if (open < 0 || "{%#".includes(this.#source[open + 1] ?? " ")) break;
      ++open;
    }
    if (open < 0) {
      this.#push("data", this.#source.slice(this.#at));
      this.#at = this.#source.length;
      return;
    }
    const kind = this.#source[open + 1] as string;
    const sign = this.#source[open + 2] ?? "";
    const before = this.#source.slice(this.#at, open);
    const text = this.#stripped(before, sign, kind !== "{", this.#at);
    if (text) this.#push("data", text);
    this.#advance(open);
    const raw = kind === "%" ? this.#match(RAW) : undefined;
    if (kind === "#") this.#comment();
    else if (raw !== undefined) this.#raw(raw);
    else this.#tag(kind, sign, open);
  }

  #tag(kind: string, sign: string, open: number): void {
    this.#push(kind === "{" ? "variable_begin" : "block_begin", "");
    this.#advance(open + 2 + (sign === "-" || sign === "+" ? 1 : 0));
    this.#inside(kind === "{" ? "variable_end" : "block_end");
  }

  /** A minus takes the white space before; a tag that is not a value takes that of its own line. */
  #stripped(text: string, sign: string, tag: boolean, from: number): string {
    if (sign === "-") return stripEnd(text);
    if (sign === "+" || !tag) return text;
    const line = text.lastIndexOf("\n") + 1;
    const starts = line > 0 || from === 0 || this.#source[from - 1] === "\n";
    return starts && ALL_BLANK.test(text.slice(line)) ? text.slice(0, line) : text;
  }

  #comment(): void {
    const end = this.#source.indexOf("#}", this.#at + 2);
    if (end < 0) this.#fail("Missing end of comment tag");
    const sign = this.#source[end - 1];
    this.#advance(end + 2);
    if (sign === "-") this.#advance(this.#at + (this.#match(BLANKS) as string).length);
    else if (sign !== "+" && this.#source[this.#at] === "\n") this.#advance(this.#at + 1);
  }

  #raw(open: string): void {
    this.#advance(this.#at + open.length);
    ENDRAW.lastIndex = this.#at;
    const end = ENDRAW.exec(this.#source);
    if (!end) this.#fail("Missing end of raw directive");
    this.#push("data", this.#stripped(this.#source.slice(this.#at, end.index), end[1] as string, true, this.#at));
    this.#advance(end.index + end[0].length);
  }

  /** Tokens up to the end of a tag; braces of dicts inside are balanced. */
  #inside(end: "variable_end" | "block_end"): void {
    const close = end === "variable_end" ? "}}" : "%}";
    const open: string[] = [];
    for (;;) {
      this.#advance(this.#at + (this.#match(BLANKS) as string).length);
      if (this.#at >= this.#source.length)
        this.#fail(`unexpected end of template, expected '${open.length ? CLOSES[open.at(-1)!] : close}'`);
      if (!open.length && this.#closed(close, end)) return;
      this.#expression(open);
    }
  }

  #closed(close: string, end: TokenType): boolean {
    const sign = this.#source[this.#at];
    const signed = sign === "-" || (sign === "+" && close === "%}");
    if (!this.#source.startsWith(close, this.#at + (signed ? 1 : 0))) return false;
    this.#push(end, "");
    this.#advance(this.#at + close.length + (signed ? 1 : 0));
    if (signed && sign === "-") this.#advance(this.#at + (this.#match(BLANKS) as string).length);
    else if (!signed && close === "%}" && this.#source[this.#at] === "\n") this.#advance(this.#at + 1);
    return true;
  }

  #expression(open: string[]): void {
    const float = this.#source[this.#at - 1] === "." ? undefined : this.#match(FLOAT);
    for (const [type, found] of [
      ["float", float],
      ["integer", this.#match(INTEGER)],
      ["name", this.#match(NAME)],
      ["string", this.#match(STRING)],
    ] as const) {
      if (found === undefined) continue;
      this.#push(type, type === "string" ? unescaped(found.slice(1, -1)) : type === "name" ? found : found.replaceAll("_", ""));
      this.#advance(this.#at + found.length);
      return;
    }
    const text = this.#match(OPERATOR) ?? this.#fail(`unexpected char ${JSON.stringify(this.#source[this.#at])}`);
    if (CLOSES[text]) open.push(text);
    else if ([")", "]", "}"].includes(text)) {
      const wanted = open.length ? CLOSES[open.pop() as string] : undefined;
      if (wanted !== text) this.#fail(`unexpected '${text}'${wanted ? `, expected '${wanted}'` : ""}`);
    }
    this.#push("op", text);
    this.#advance(this.#at + text.length);
  }
}

const ESCAPES: Readonly<Record<string, string>> = {
  "\n": "",
  "\\": "\\",
  "'": "'",
  '"': '"',
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};

/** Python's escapes; an unknown one stays as it is. */
function unescaped(text: string): string {
  return text.replace(/\\(?:([0-7]{1,3})|x([\da-f]{2})|u([\da-f]{4})|U([\da-f]{8})|(.))/gis, (whole, octal, x, u, long, one) => {
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
    // Capital X is no escape, and u is not U.
    if (x !== undefined) return whole[1] === "x" ? String.fromCharCode(Number.parseInt(x, 16)) : whole;
    if (u !== undefined || long !== undefined) return fromCode(whole, u, long);
    if (one === "x" || one === "u" || one === "U" || one === "N")
      throw new TemplateFault(`a string with a cut escape ${JSON.stringify(whole)}`);
    return ESCAPES[one] ?? whole;
  });
}

function fromCode(whole: string, four: string | undefined, eight: string | undefined): string {
  const capital = whole[1] === "U";
  if (four !== undefined && capital) throw new TemplateFault(`a string with a cut escape ${JSON.stringify(whole)}`);
  if (eight !== undefined && !capital) return String.fromCharCode(Number.parseInt(eight.slice(0, 4), 16)) + eight.slice(4);
  const code = Number.parseInt((four ?? eight) as string, 16);
  if (code > 0x10ffff) throw new TemplateFault(`a string with the escape ${JSON.stringify(whole)}, beyond Unicode`);
  return String.fromCodePoint(code);
}
