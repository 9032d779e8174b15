// sentencepiece's BPE with byte fallback: text to ids and back (google/sentencepiece, src/bpe_model.cc).
import { bytesIn, isBytes } from "../core/realm.js";
import { type Piece, PieceType, readSentencePiece, SentencePieceError, type SentencePieceModel } from "./sentencepiece-model.js";
import { checkLooked, checkNodes, Trie } from "./trie.js";

export { type Piece, PieceType, SentencePieceError, type SentencePieceModel } from "./sentencepiece-model.js";

const SPACE = "\u2581";
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true }); // U+FEFF is a character like any other

/** As errors name them. Models have a thousand, and may have as many as there are tokens of pictures, which begin alike. */
const USER_DEFINED = "user-defined pieces";

function userDefined(pieces: readonly Piece[]): Trie<true> {
  const trie = new Trie<true>();
  let nodes = 0;
  for (const { type, text } of pieces) {
    if (type !== PieceType.UserDefined || !text) continue;
    nodes += trie.add(text, true);
    checkNodes(nodes, USER_DEFINED);
  }
  return trie;
}

/** A stretch of text that may still merge with its neighbours. */
interface Symbol {
  text: string;
  before: number;
  after: number;
  /** A user-defined piece stays whole. */
  frozen: boolean;
}
interface Merge {
  score: number;
  left: number;
  right: number;
  length: number;
}

export class SentencePiece {
  readonly #pieces: readonly Piece[];
  readonly #ids: ReadonlyMap<string, number>;
  readonly #userDefined: Trie<true>;
  readonly #bytes: readonly number[]; // ids of <0x00> to <0xFF>
  readonly #dummyPrefix: boolean;
  readonly #collapseSpaces: boolean;
  readonly unknownId: number;

  /** From the bytes of a tokenizer.model, or from what another kind of file says of one. Throws E_TOKENIZER. */
  constructor(model: Uint8Array | SentencePieceModel) {
    const { pieces, byteFallback, dummyPrefix, collapseSpaces } = isBytes(model) ? readSentencePiece(bytesIn(model)) : model;
    this.#pieces = pieces;
    this.#ids = new Map(pieces.map(({ text }, id) => [text, id]));
    this.#userDefined = userDefined(pieces);
    this.#dummyPrefix = dummyPrefix;
    this.#collapseSpaces = collapseSpaces;
    this.unknownId = pieces.findIndex(({ type }) => type === PieceType.Unknown);
    const byteId = (byte: number) => this.#ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`) ?? -1;
    this.#bytes = byteFallback ? Array.from({ length: 256 }, (_, byte) => byteId(byte)) : [];
    if (this.#bytes.includes(-1)) throw new SentencePieceError("a piece for every byte", "a model with byte fallback that lacks some");
  }

  get size(): number {
    return this.#pieces.length;
  }
  idOf(piece: string): number | undefined {
    return this.#ids.get(piece);
  }
  pieceOf(id: number): string | undefined {
    return this.#pieces[id]?.text;
  }
  isControl(id: number): boolean {
    const type = this.#pieces[id]?.type;
    return type === PieceType.Control || type === PieceType.Unknown;
  }

  /** Ids of plain text: control pieces such as <s> are not recognised in it. */
  encode(text: string): number[] {
    const normal = this.#normalized(text);
    if (!normal) return [];
    return this.#merged(this.#symbolsOf(normal)).flatMap((piece) => this.#idsOf(piece));
  }

  decode(ids: readonly number[]): string {
    let text = "";
    let bytes: number[] = [];
    const flush = () => {
      text += utf8.decode(Uint8Array.from(bytes));
      bytes = [];
    };
    for (const id of ids) {
      const piece = this.#pieces[id];
      if (!piece) throw new SentencePieceError(`ids below ${this.size}`, String(id));
      if (piece.type === PieceType.Byte) {
        bytes.push(Number.parseInt(piece.text.slice(3, 5), 16));
        continue;
      }
      flush();
      if (piece.type === PieceType.Control) continue;
      text += piece.type === PieceType.Unknown ? " \u2047 " : piece.text.replaceAll(SPACE, " ");
    }
    flush();
    return this.#dummyPrefix && text.startsWith(" ") ? text.slice(1) : text;
  }

  #normalized(text: string): string {
    const trimmed = this.#collapseSpaces ? text.replace(/ +/g, " ").replace(/^ | $/g, "") : text;
    if (!trimmed) return "";
    return (this.#dummyPrefix ? ` ${trimmed}` : trimmed).replaceAll(" ", SPACE);
  }

  #symbolsOf(text: string): Symbol[] {
    const symbols: Symbol[] = [];
    let looked = 0;
    for (let at = 0; at < text.length; ) {
      const { value: frozen = false, to, looked: now } = this.#userDefined.longest(text, at);
      looked += now;
      checkLooked(looked, text.length, USER_DEFINED);
      const part = frozen ? text.slice(at, to) : String.fromCodePoint(text.codePointAt(at) as number);
      symbols.push({ text: part, before: symbols.length - 1, after: symbols.length + 1, frozen });
      at += part.length;
    }
    const last = symbols.at(-1);
    if (last) last.after = -1;
    return symbols;
  }

  /** Merges the pair whose union has the highest score, the leftmost of equals, until no union is a piece. */
  #merged(symbols: Symbol[]): string[] {
    const heap = new MergeHeap();
    const consider = (left: number, right: number) => {
      const [a, b] = [symbols[left], symbols[right]];
      if (!a || !b || a.frozen || b.frozen) return;
      const id = this.#ids.get(a.text + b.text);
      const piece = id === undefined ? undefined : this.#pieces[id];
      if (piece && (piece.type === PieceType.Normal || piece.type === PieceType.UserDefined))
        heap.push({ score: piece.score, left, right, length: a.text.length + b.text.length });
    };
    for (let i = 0; i + 1 < symbols.length; ++i) consider(i, i + 1);
    for (let merge = heap.pop(); merge; merge = heap.pop()) {
      const [a, b] = [symbols[merge.left] as Symbol, symbols[merge.right] as Symbol];
      // One of the two may have merged with another neighbour meanwhile.
      if (!a.text || !b.text || a.text.length + b.text.length !== merge.length) continue;
      a.text += b.text;
      a.after = b.after;
      b.text = "";
      const next = symbols[a.after];
      if (next) next.before = merge.left;
      consider(a.before, merge.left);
      consider(merge.left, a.after);
    }
    return symbols.map(({ text }) => text).filter(Boolean);
  }

  #idsOf(piece: string): number[] {
    const id = this.#ids.get(piece);
    const known = id !== undefined && !this.isControl(id) && this.#pieces[id]?.type !== PieceType.Byte;
    if (known) return [id];
    if (!this.#bytes.length) return [this.unknownId];
    return Array.from(new TextEncoder().encode(piece), (byte) => this.#bytes[byte] as number);
  }
}

/** A binary heap: the highest score first, the leftmost of equals. */
class MergeHeap {
  readonly #items: Merge[] = [];

  push(item: Merge): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, items[parent] as Merge)) break;
      items[at] = items[parent] as Merge;
      at = parent;
    }
    items[at] = item;
  }

  pop(): Merge | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (!items.length || !last) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1] as Merge, items[child] as Merge)) ++child;
      if (!before(items[child] as Merge, last)) break;
      items[at] = items[child] as Merge;
      at = child;
    }
    items[at] = last;
    return top;
  }
}

const before = (a: Merge, b: Merge): boolean => a.score > b.score || (a.score === b.score && a.left < b.left);
