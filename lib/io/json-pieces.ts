// A large JSON file as JSON.parse reads it, in pieces: a tokenizer of 128 000 words is 10 to 20 MB of it, which would hold the event loop for a
// quarter of a second. One pass finds where strings and brackets are; what lies between goes through JSON.parse, some thousand entries at a time.
import { readPlain } from "../core/plain-file.js";
import { inTurns, type Pieces } from "../core/turns.js";

const PIECE = 1 << 14;
const [QUOTE, BACKSLASH, COMMA] = [34, 92, 44];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [91, 93, 123, 125];

/** A list or an object whose end was not reached yet. */
interface Open {
  list: boolean;
  /** Where its bracket stands. */
  at: number;
  /** What was not read of it begins here. */
  from: number;
  /** Its last child begins here. */
  child: number;
  /** Made once a part of it was read: small ones never are, they go with the one around them. */
  into: unknown[] | Record<string, unknown> | undefined;
  /** Its last child was read by itself. */
  taken: boolean;
  /** It has children already. */
  some: boolean;
}

class Unread extends Error {}

type Parse = (text: string) => unknown;

/** Of objects that were read in pieces: Object.keys() of 128 000 takes 30 ms. */
const known = new WeakMap<object, string[]>();
/** Notes the keys of a large object that is made elsewhere. */
export const noteKeys = (object: object, keys: string[]): void => void known.set(object, keys);
/** Its keys, in the order of the text where it is large. */
export const keysOf = (object: object): readonly string[] => known.get(object) ?? Object.keys(object);

/** Of a file of JSON. The tokenizer of 250 000 words and their merges has 35 MB. */
const LONGEST = 256 << 20;

/** The file's value, one of a model's folder. Rejects with SyntaxError as `parse` throws it, and with E_FILE (lib/core/plain-file.ts). */
export async function readJsonInTurns(path: string, signal?: AbortSignal, parse?: Parse): Promise<unknown> {
  return inTurns(parsedJson(await readPlain(path, { most: LONGEST, linksInside: true }), parse), { signal });
}

/** What `parse` makes of UTF-8 text, the same value or the same error; it is given pieces of the text that are JSON by themselves. */
export function* parsedJson(bytes: Uint8Array, parse: Parse = JSON.parse, piece = PIECE): Pieces<unknown> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from: number, to: number) => buffer.toString("utf8", from, to);
  if (bytes.length > piece) {
    try {
      return yield* new Reader(bytes, text, parse, piece).read();
    } catch (error) {
      if (!(error instanceof Unread || error instanceof SyntaxError)) throw error;
    }
  }
  return parse(text(0, bytes.length)); // of a file that is no JSON: it says where and why
}

class Reader {
  readonly #stack: Open[] = [];
  /** So many of them, the outer ones, were made. */
  #made = 0;
  #read = 0;
  constructor(
    private readonly bytes: Uint8Array,
    private readonly text: (from: number, to: number) => string,
    private readonly parse: Parse,
    private readonly piece: number,
  ) {}

  *read(): Pieces<unknown> {
    const { bytes, piece } = this;
    const stack = this.#stack;
    let looked = 0;
    for (let at = 0; at < bytes.length; ++at) {
      if (at - looked >= piece) {
        looked = at;
        yield;
      }
      switch (bytes[at]) {
        case QUOTE:
          for (++at; at < bytes.length && bytes[at] !== QUOTE; ++at) if (bytes[at] === BACKSLASH) ++at;
          break;
        case OPEN_LIST:
        case OPEN_OBJECT:
          stack.push({ list: bytes[at] === OPEN_LIST, at, from: at + 1, child: at + 1, into: undefined, taken: false, some: false });
          break;
        case COMMA: {
          const top = stack.at(-1);
          if (!top) throw new Unread();
          if (top.taken) this.#next(top, at);
          top.child = at + 1;
          if (at - this.#read >= piece) {
            this.#take();
            this.#read = at;
            yield;
          }
          break;
        }
        case CLOSE_LIST:
        case CLOSE_OBJECT: {
          const top = stack.pop();
          if (!top || top.list !== (bytes[at] === CLOSE_LIST)) throw new Unread();
          if (!top.into) {
            if (!stack.length) throw new Unread(); // all of it is one child: nothing to divide
            break;
          }
          this.#close(top, at);
          this.#made--;
          this.#read = at;
          const around = stack.at(-1);
          if (!around) return this.#end(top.into, at + 1);
          around.from = at + 1;
          yield;
        }
      }
    }
    throw new Unread();
  }

  /** Reads the whole children of all that is open, and makes what the last ones will go into. */
  #take(): void {
    const stack = this.#stack;
    for (let depth = Math.max(0, this.#made - 1); depth < stack.length; ++depth) {
      const open = stack[depth] as Open;
      open.into ??= this.#make(open, stack[depth - 1]);
      if (open.taken) continue;
      if (open.child > open.from) this.#children(open, open.child - 1);
      open.from = open.child;
    }
    this.#made = stack.length;
  }

  #make(open: Open, around: Open | undefined): unknown[] | Record<string, unknown> {
    const made = open.list ? [] : {};
    if (!open.list) known.set(made, []);
    if (!around) {
      this.#blank(0, open.at);
      return made;
    }
    const before = this.text(around.child, open.at);
    if (around.list) {
      if (before.trim()) throw new Unread();
      (around.into as unknown[]).push(made);
    } else {
      const [key] = Object.keys(this.parse(`{${before}0}`) as object) as [string];
      put(around.into as Record<string, unknown>, key, made);
    }
    around.taken = true;
    around.some = true;
    return made;
  }

  #children(open: Open, to: number): void {
    const inside = this.text(open.from, to);
    if (!inside.trim()) throw new Unread();
    open.some = true;
    if (open.list) for (const value of this.parse(`[${inside}]`) as unknown[]) (open.into as unknown[]).push(value);
    else {
      const some = this.parse(`{${inside}}`) as Record<string, unknown>;
      for (const key of Object.keys(some)) put(open.into as Record<string, unknown>, key, some[key]);
    }
  }

  /** Past a child that was read by itself. */
  #next(open: Open, at: number): void {
    this.#blank(open.from, at);
    open.from = at + 1;
    open.taken = false;
  }

  #close(open: Open, at: number): void {
    if (open.taken) this.#blank(open.from, at);
    else if (open.some || this.text(open.from, at).trim()) this.#children(open, at);
  }

  #end(value: unknown, at: number): unknown {
    this.#blank(at, this.bytes.length);
    return value;
  }

  #blank(from: number, to: number): void {
    if (/[^ \t\r\n]/.test(this.text(from, to))) throw new Unread();
  }
}

function put(object: Record<string, unknown>, key: string, value: unknown): void {
  if (!Object.hasOwn(object, key)) known.get(object)?.push(key);
  setKey(object, key, value);
}

/** As JSON.parse: "__proto__" is a key like any other. */
export function setKey(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true });
  else object[key] = value;
}
