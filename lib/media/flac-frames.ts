// A FLAC cut where its frames begin: its decoder may lose a frame that comes in two pieces, and each header tells how much sound a piece will give.
import type { Part } from "./counts.js";

/** Bytes, and samples of all channels, of a piece; a frame is never cut. */
const [PIECE, SAMPLES] = [4 << 10, 4 << 20];
/** Longer than any frame: 65536 samples of 8 channels in 32 bits. */
const MOST = 2 << 20;

const CRC8 = Uint8Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; ++bit) byte = byte & 128 ? (byte << 1) ^ 7 : byte << 1;
  return byte;
});

export function* flacParts(bytes: Uint8Array, begin: number, channels: number): Generator<Part> {
  let [from, samples] = [begin, 0];
  for (let at = begin; at < bytes.length; ++at) {
    const length = bytes[at] === 0xff ? samplesOfFrame(bytes, at) : 0;
    if (length ? at - from >= PIECE || samples + length * channels > SAMPLES : at - from >= MOST) {
      if (at > from) yield { bytes: bytes.subarray(from, at), isWhole: true };
      [from, samples] = [at, 0];
    }
    samples += length * channels;
  }
  if (from < bytes.length) yield { bytes: bytes.subarray(from), isWhole: true };
}

/** Whether a container's block of FLAC, which is decoded at one go, would give more than fits into memory with ease. */
export function isDense(bytes: Uint8Array): boolean {
  if (bytes.length < PIECE) return false;
  let samples = 0;
  for (let at = bytes.indexOf(0xff); at >= 0; at = bytes.indexOf(0xff, at + 1)) samples += samplesOfFrame(bytes, at) * 8;
  return samples > 16 * SAMPLES;
}

/** Of one channel; 0 where no frame begins. https://www.rfc-editor.org/rfc/rfc9639#section-9.1 */
export function samplesOfFrame(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== 0xff || (bytes[at + 1]! & 0xfe) !== 0xf8 || bytes[at + 3]! & 1) return 0;
  const [sizeCode, rateCode] = [bytes[at + 2]! >> 4, bytes[at + 2]! & 15];
  if (sizeCode === 0 || rateCode === 15) return 0;
  let end = at + 4;
  const ones = Math.clz32(~(bytes[end]! << 24)); // of the frame's number, coded as UTF-8
  if (ones === 1 || ones > 7) return 0;
  end += ones || 1;
  let samples = sizeCode === 1 ? 192 : sizeCode < 6 ? 576 << (sizeCode - 2) : 256 << (sizeCode - 8);
  if (sizeCode === 6) samples = bytes[end++]! + 1;
  if (sizeCode === 7) {
    samples = bytes[end]! * 256 + bytes[end + 1]! + 1;
    end += 2;
  }
  end += rateCode === 12 ? 1 : rateCode > 12 ? 2 : 0;
  let crc = 0;
  for (let i = at; i < end; ++i) crc = CRC8[crc ^ bytes[i]!]!;
  return crc === bytes[end] ? samples : 0;
}
