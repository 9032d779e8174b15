// sentencepiece's tokenizer.model, read without protobuf or native code: BPE with byte fallback, the form of LLaMA 1 and 2
// (google/sentencepiece, src/sentencepiece_model.proto and bpe_model.cc).
import { AnymalError } from "../core/errors.js";

export class SentencePieceError extends AnymalError {
  override readonly name = "SentencePieceError";
  constructor(expected: string, got: string) {
    super(
      "E_TOKENIZER",
      `tokenizer.model: expected ${expected}, got ${got}; convert it to tokenizer.json with transformers, or fetch it again`,
    );
  }
}

enum Type {
  Normal = 1,
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
  Unused = 5,
  Byte = 6,
}
interface Piece {
  text: string;
  score: number;
  type: Type;
}

const SPACE = "\u2581";
const BPE = 2;

/** One field of a protobuf message: varints as numbers, everything else as bytes. */
interface Field {
  number: number;
  value: number;
  bytes: Uint8Array;
}

function* fieldsOf(message: Uint8Array): Generator<Field> {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = message[at++];
      if (byte === undefined || factor > 2 ** 63) throw new SentencePieceError("a whole protobuf message", `one cut off at byte ${at}`);
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  const take = (length: number) => {
    if (at + length > message.length) throw new SentencePieceError(`${length} bytes at byte ${at}`, `${message.length - at}`);
    at += length;
    return message.subarray(at - length, at);
  };
  while (at < message.length) {
    const tag = varint();
    const [number, wire] = [Math.floor(tag / 8), tag % 8];
    const field: Field = { number, value: 0, bytes: new Uint8Array() };
    if (wire === 0) field.value = varint();
    else if (wire === 1) field.bytes = take(8);
    else if (wire === 2) field.bytes = take(varint());
    else if (wire === 5) field.bytes = take(4);
    else throw new SentencePieceError("a protobuf wire type 0, 1, 2 or 5", String(wire));
    yield field;
  }
}

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true }); // U+FEFF is a character like any other
const float = (bytes: Uint8Array) => {
  if (bytes.length !== 4) throw new SentencePieceError("a score of four bytes", `${bytes.length}`);
  return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
};

function pieceOf(message: Uint8Array): Piece {
  const piece: Piece = { text: "", score: 0, type: Type.Normal };
  for (const { number, value, bytes } of fieldsOf(message)) {
    if (number === 1) piece.text = utf8.decode(bytes);
    else if (number === 2) piece.score = float(bytes);
    else if (number === 3) piece.type = value;
  }
  if (piece.type === Type.Byte && !/^<0x[0-9A-Fa-f]{2}>$/.test(piece.text))
    throw new SentencePieceError('byte pieces such as "<0x0A>"', JSON.stringify(piece.text.slice(0, 20)));
  return piece;
}

/** Models with a thousand such pieces exist, and each character of a text asks for those that begin with it. */
function byFirst(pieces: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const piece of [...pieces].sort((a, b) => b.length - a.length)) {
    const first = String.fromCodePoint(piece.codePointAt(0) as number);
    const group = groups.get(first);
    if (group) group.push(piece);
    else groups.set(first, [piece]);
  }
  return groups;
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
  readonly #userDefined: ReadonlyMap<string, readonly string[]>; // by the first character, the longest first
  readonly #bytes: readonly number[]; // ids of <0x00> to <0xFF>
  readonly #dummyPrefix: boolean;
  readonly #collapseSpaces: boolean;
  readonly unknownId: number;

  constructor(file: Uint8Array) {
    const pieces: Piece[] = [];
    let modelType = 1;
    let byteFallback = false;
    let [dummyPrefix, collapse, charsmap] = [true, true, 0];
    for (const { number, bytes } of fieldsOf(file)) {
      if (number === 1) pieces.push(pieceOf(bytes));
      if (number === 2) {
        for (const field of fieldsOf(bytes)) {
          if (field.number === 3) modelType = field.value;
          if (field.number === 35) byteFallback = field.value === 1;
        }
      }
      if (number === 3) {
        for (const field of fieldsOf(bytes)) {
          if (field.number === 2) charsmap = field.bytes.length;
          if (field.number === 3) dummyPrefix = field.value === 1;
          if (field.number === 4) collapse = field.value === 1;
        }
      }
    }
    if (!pieces.length) throw new SentencePieceError("pieces", "none");
    if (modelType !== BPE) throw new SentencePieceError("a BPE model (type 2)", `type ${modelType}`);
    if (charsmap) throw new SentencePieceError("a model without a normalisation table", `one of ${charsmap} bytes`);
    this.#pieces = pieces;
    this.#ids = new Map(pieces.map(({ text }, id) => [text, id]));
    this.#userDefined = byFirst(pieces.filter(({ type, text }) => type === Type.UserDefined && text).map(({ text }) => text));
    this.#dummyPrefix = dummyPrefix;
    this.#collapseSpaces = collapse;
    this.unknownId = pieces.findIndex(({ type }) => type === Type.Unknown);
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
    return type === Type.Control || type === Type.Unknown;
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
      if (piece.type === Type.Byte) {
        bytes.push(Number.parseInt(piece.text.slice(3, 5), 16));
        continue;
      }
      flush();
      if (piece.type === Type.Control) continue;
      text += piece.type === Type.Unknown ? " \u2047 " : piece.text.replaceAll(SPACE, " ");
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
    for (let at = 0; at < text.length; ) {
      const first = String.fromCodePoint(text.codePointAt(at) as number);
      const whole = this.#userDefined.get(first)?.find((piece) => text.startsWith(piece, at));
      const part = whole ?? first;
      symbols.push({ text: part, before: symbols.length - 1, after: symbols.length + 1, frozen: whole !== undefined });
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
      if (piece && (piece.type === Type.Normal || piece.type === Type.UserDefined))
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
    const known = id !== undefined && !this.isControl(id) && this.#pieces[id]?.type !== Type.Byte;
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
