// A compressed sound as its decoder may get it: counts, rates and channels looked at, headers in one piece.
import { checkSignal, type Part, type Prepared } from "./counts.js";
import { prepareAiff, prepareCaf, prepareWav } from "./counts-chunks.js";
import { prepareMp4 } from "./counts-mp4.js";
import { prepareWebm } from "./counts-webm.js";
import { flacParts } from "./flac-frames.js";

/** A file of `kind` as its decoder may get it. Throws E_MEDIA_FORMAT where a count, a rate or a number of channels cannot be true. */
export function prepared(kind: string, bytes: Uint8Array, what: string): Prepared {
  if (kind === "m4a") return prepareMp4(bytes, what);
  if (kind === "aiff") return prepareAiff(bytes, what);
  if (kind === "caf") return prepareCaf(bytes, what);
  if (kind === "wav") return prepareWav(bytes, what);
  if (kind === "webm") return prepareWebm(bytes, what);
  if (kind === "flac") return prepareFlac(bytes.subarray(tagLength(bytes)), what);
  return { parts: [{ bytes }] };
}

/** Bytes of the ID3 tag before a sound: https://id3.org/id3v2.4.0-structure */
export function tagLength(bytes: Uint8Array): number {
  if (bytes.length < 10 || bytes[0] !== 0x49 || bytes[1] !== 0x44 || bytes[2] !== 0x33) return 0;
  const length = bytes.subarray(6, 10).reduce((n, byte) => (n << 7) | (byte & 0x7f), 0);
  return 10 + length + (bytes[5]! & 0x10 ? 10 : 0);
}

/**
 * STREAMINFO and the frames; pictures and tables between them are left out, which the decoder would read again with each piece.
 * Blocks: https://www.rfc-editor.org/rfc/rfc9639#section-8
 */
function prepareFlac(bytes: Uint8Array, what: string): Prepared {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const INFO = 42; // "fLaC", a block's header, STREAMINFO
  if (bytes.length < INFO || view.getUint32(0) !== 0x664c6143 || (bytes[4]! & 0x7f) !== 0) return { parts: [{ bytes }] };
  const sampleRate = view.getUint32(18) >>> 12;
  const channels = ((bytes[20]! >> 1) & 7) + 1;
  checkSignal(what, sampleRate, channels);
  const frames = (bytes[21]! & 15) * 2 ** 32 + view.getUint32(22);
  const declared = frames ? { declared: { frames, sampleRate } } : {};
  let at = 4;
  for (let isLast = false; !isLast; ) {
    if (at + 4 > bytes.length) return { parts: [{ bytes }], ...declared };
    isLast = bytes[at]! >= 128;
    at += 4 + (view.getUint32(at) & 0xffffff);
  }
  const head = bytes.slice(0, INFO);
  head[4] = 128; // the last block
  return { parts: joined({ bytes: head, isWhole: true }, flacParts(bytes, at, channels)), ...declared };
}

function* joined(first: Part, others: Iterable<Part>): Generator<Part> {
  yield first;
  yield* others;
}
