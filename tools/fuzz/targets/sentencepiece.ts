// lib/text/sentencepiece.ts: a tokenizer.model is read, texts are encoded and decoded.
import { SentencePiece } from "../../../lib/text/sentencepiece.js";
import { joined } from "../input.js";
import type { Random } from "../random.js";
import { HOSTILE, type Target } from "../target.js";

const varint = (value: number | bigint): Uint8Array => {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Uint8Array.from([...bytes, Number(rest)]);
};
const tagged = (field: number, wire: number, content: Uint8Array): Uint8Array => joined(varint(field * 8 + wire), content);
const number = (field: number, value: number | bigint) => tagged(field, 0, varint(value));
const message = (field: number, content: Uint8Array, length: number | bigint = content.length) =>
  tagged(field, 2, joined(varint(length), content));
const float = (field: number, value: number) => tagged(field, 5, new Uint8Array(new Float32Array([value]).buffer));

function piece(text: string, score: number, type?: number): Uint8Array {
  const parts = [message(1, new TextEncoder().encode(text)), float(2, score)];
  return message(1, joined(...parts, ...(type === undefined ? [] : [number(3, type)])));
}

const bytePieces = Array.from({ length: 256 }, (_, i) => piece(`<0x${i.toString(16).toUpperCase().padStart(2, "0")}>`, 0, 6));
const specials = [piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3)];
const words = ["\u2581", "a", "b", "ab", "\u2581ab", "abab", "\u2581abab"].map((text, i) => piece(text, -i));
const trainer = (type: number | bigint, fallback: number | bigint) => message(2, joined(number(3, type), number(35, fallback)));
const normalizer = message(3, joined(number(3, 1), number(4, 0)));

function build(random: Random): Uint8Array {
  const pieces = [...specials, ...(random.chance(0.5) ? bytePieces : []), ...words];
  for (let n = random.below(6); n > 0; --n) {
    const text = random.pick(["", "a", "\u2581", "\u2581".repeat(50), "ab".repeat(40), "<0x41>", "<0xZZ>", "\ud800", "\u0000", "\ufeff"]);
    const score = random.pick([0, -1, Number.NaN, Infinity, -Infinity, 3e38, -0]);
    pieces.splice(random.below(pieces.length + 1), 0, piece(text, score, random.pick([undefined, 0, 1, 2, 3, 4, 5, 6, 7, 2 ** 31])));
  }
  const parts = [...pieces, trainer(random.chance(0.9) ? 2 : random.pick(HOSTILE), random.below(2)), normalizer];
  if (random.chance(0.3)) parts.splice(random.below(parts.length), 0, odd(random));
  return joined(...parts);
}

function odd(random: Random): Uint8Array {
  const field = random.pick([0, 1, 2, 3, 4, 100, 2 ** 28]);
  switch (random.below(5)) {
    case 0:
      return message(field, random.bytes(random.below(30)), random.pick(HOSTILE));
    case 1:
      return number(field, random.pick(HOSTILE));
    case 2:
      return tagged(field, random.below(8), random.bytes(random.below(12)));
    case 3:
      return message(1, float(random.pick([1, 3]), 1)); // a piece whose parts have other wire types
    default:
      return message(1, tagged(2, random.pick([0, 1, 2]), random.bytes(9)));
  }
}

const whole = joined(...specials, ...bytePieces, ...words, trainer(2, 1), normalizer);
const TEXTS = ["", "ab ab  abab\u2581", "<s>x\u00e9\ud83d\ude00\ud800</s>", "ab".repeat(300)];

export const sentencepiece: Target = {
  name: "sentencepiece",
  seeds: [
    { bytes: whole, fields: [] },
    { bytes: joined(...specials, ...words, trainer(2, 0)), fields: [] },
  ],
  build,
  run(bytes) {
    const model = new SentencePiece(bytes);
    for (const text of TEXTS) model.decode(model.encode(text));
    model.decode(Array.from({ length: model.size }, (_, id) => id));
  },
};
