// Sets of characters: RegExp says once of each character whether it is one of them, which takes it no search.

const UNKNOWN = 0;
const IN = 1;
const OUT = 2;
const PAGE = 256;
const PLANE = 0x10000;
/** Characters beyond the first plane that are remembered. */
const MOST_WIDE = 4096;

export class CharacterSet {
  readonly #one: RegExp;
  /** Pages of what is known: a text comes by with few. */
  readonly #pages: (Uint8Array | undefined)[] = new Array(PLANE / PAGE).fill(undefined);
  readonly #wide = new Map<number, boolean>();

  constructor(source: string, unicode: boolean) {
    this.#one = new RegExp(`^(?:${source})$`, unicode ? "u" : "");
  }

  /** Of a code point, or of a code unit where expressions go by those. */
  has(code: number): boolean {
    if (code >= PLANE) return this.#hasWide(code);
    this.#pages[code >> 8] ??= new Uint8Array(PAGE);
    const page = this.#pages[code >> 8] as Uint8Array;
    const known = page[code & 255];
    if (known !== UNKNOWN) return known === IN;
    const fits = this.#one.test(String.fromCharCode(code));
    page[code & 255] = fits ? IN : OUT;
    return fits;
  }

  #hasWide(code: number): boolean {
    const known = this.#wide.get(code);
    if (known !== undefined) return known;
    const fits = this.#one.test(String.fromCodePoint(code));
    if (this.#wide.size >= MOST_WIDE) this.#wide.clear();
    this.#wide.set(code, fits);
    return fits;
  }
}

/** Expressions share what is known of the same set: published ones are made of few. */
const MOST_SETS = 64;
const sets = new Map<string, CharacterSet>();

export function characterSet(source: string, unicode: boolean): CharacterSet {
  const key = `${unicode ? "u" : ""}/${source}`;
  const known = sets.get(key);
  if (known) return known;
  const made = new CharacterSet(source, unicode);
  if (sets.size >= MOST_SETS) sets.clear();
  sets.set(key, made);
  return made;
}
