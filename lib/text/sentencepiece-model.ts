// sentencepiece's tokenizer.model, read without protobuf or native code (google/sentencepiece, src/sentencepiece_model.proto): BPE, the form of LLaMA 1
// and 2.
import { AnymalError } from "../core/errors.js";
import { atOnce, type Pieces } from "../core/turns.js";

/** E_TOKENIZER: a tokenizer.model that is damaged, or of a kind that is not read. */
export class SentencePieceError extends AnymalError {
  override readonly name = "SentencePieceError";
  constructor(expected: string, got: string) {
    super(
      "E_TOKENIZER",
      `tokenizer.model: expected ${expected}, got ${got}; convert it to tokenizer.json with transformers, or fetch it again`,
    );
  }
}

export enum PieceType {
  Normal = 1,
  Unknown = 2,
  Control = 3,
  UserDefined = 4,
  Unused = 5,
  Byte = 6,
}
export interface Piece {
  text: string;
  score: number;
  type: PieceType;
}

/** What a tokenizer needs of the file. */
export interface SentencePieceModel {
  pieces: readonly Piece[];
  /** Characters that no piece holds are spelled in pieces of bytes. */
  byteFallback: boolean;
  /** A space before the text. */
  dummyPrefix: boolean;
  /** Runs of spaces count as one, and those around the text as none. */
  collapseSpaces: boolean;
}

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
  const piece: Piece = { text: "", score: 0, type: PieceType.Normal };
  for (const { number, value, bytes } of fieldsOf(message)) {
    if (number === 1) piece.text = utf8.decode(bytes);
    else if (number === 2) piece.score = float(bytes);
    else if (number === 3) piece.type = value;
  }
  if (piece.type === PieceType.Byte && !/^<0x[0-9A-Fa-f]{2}>$/.test(piece.text))
    throw new SentencePieceError('byte pieces such as "<0x0A>"', JSON.stringify(piece.text.slice(0, 20)));
  return piece;
}

const PIECES_AT_ONCE = 1024;

/** Throws E_TOKENIZER for a file that is damaged, or of a kind that is not read here. */
export function readSentencePiece(file: Uint8Array): SentencePieceModel {
  return atOnce(sentencePieceModel(file));
}

export function* sentencePieceModel(file: Uint8Array): Pieces<SentencePieceModel> {
  const pieces: Piece[] = [];
  let modelType = 1;
  let [byteFallback, dummyPrefix, collapseSpaces, escaped, suffix, charsmap] = [false, true, true, true, false, 0];
  for (const { number, bytes } of fieldsOf(file)) {
    if (number === 1 && pieces.push(pieceOf(bytes)) % PIECES_AT_ONCE === 0) yield;
    if (number === 2) {
      for (const field of fieldsOf(bytes)) {
        if (field.number === 3) modelType = field.value;
        if (field.number === 24) suffix = field.value === 1;
        if (field.number === 35) byteFallback = field.value === 1;
      }
    }
    if (number === 3) {
      for (const field of fieldsOf(bytes)) {
        if (field.number === 2) charsmap = field.bytes.length;
        if (field.number === 3) dummyPrefix = field.value === 1;
        if (field.number === 4) collapseSpaces = field.value === 1;
        if (field.number === 5) escaped = field.value === 1;
      }
    }
  }
  if (!pieces.length) throw new SentencePieceError("pieces", "none");
  if (modelType !== BPE) throw new SentencePieceError("a BPE model (type 2)", `type ${modelType}`);
  if (charsmap) throw new SentencePieceError("a model without a normalisation table", `one of ${charsmap} bytes`);
  if (!escaped || suffix) throw new SentencePieceError("spaces as \u2581 before words", escaped ? "behind them" : "spaces as they are");
  return { pieces, byteFallback, dummyPrefix, collapseSpaces };
}
