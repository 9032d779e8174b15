// AIFF, CAF and ADPCM in WAV: what their headers say of channels, rates and blocks. What is in memory is small beside what a block count may name.
import { checkCount, checkSignal, damaged, type Part, type Prepared } from "./counts.js";

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
const [MICROSOFT, IMA] = [2, 0x11]; // tags of ADPCM
const COMPRESSED = /^(fl32|FL32|fl64|FL64|alaw|ulaw|ULAW|ima4|gsm |GSM )$/; // to the AIFF decoder
const idAt = (bytes: Uint8Array, at: number): string => Buffer.from(bytes.subarray(at, at + 4)).toString("latin1");

/** All up to where the samples begin in one piece: until it is complete, a decoder goes through it again with each piece. */
const splitAt = (bytes: Uint8Array, at: number): Part[] => [{ bytes: bytes.subarray(0, at), isWhole: true }, { bytes: bytes.subarray(at) }];

export function prepareAiff(bytes: Uint8Array, what: string): Prepared {
  const view = viewOf(bytes);
  let common: { at: number; blocks: number; channels: number; sampleRate: number; coding: string; sample: number } | undefined;
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [id, size, content] = [idAt(bytes, at), view.getUint32(at + 4), at + 8];
    if (id === "COMM" && content + 18 <= bytes.length) {
      const [channels, bits, sampleRate] = [view.getUint16(content), view.getUint16(content + 6), extended(view, content + 8)];
      checkSignal(what, sampleRate, channels);
      const coding = idAt(bytes, 8) === "AIFC" && size >= 22 ? idAt(bytes, content + 18) : "NONE";
      // Compressed samples may say that they have none.
      if ((bits < 1 && !COMPRESSED.test(coding)) || bits > 64) throw damaged(what, "samples of 1 to 64 bits", `${bits} bits`);
      const sample = { fl32: 4, fl64: 8, alaw: 1, ulaw: 1 }[coding.toLowerCase()] ?? Math.ceil(bits / 8);
      common = { at: content, blocks: view.getUint32(content + 2), channels, sampleRate, coding, sample };
    }
    if (id === "SSND") {
      if (!common || content + 8 > bytes.length) break;
      const { channels, sampleRate, coding, sample } = common;
      const block = coding === "ima4" ? 34 * channels : /^gsm /i.test(coding) ? 33 : 0;
      const begin = Math.min(bytes.length, content + 8 + view.getUint32(content));
      const held = Math.floor((bytes.length - begin) / (block || sample * channels)); // the file may be cut, or end where its writer did
      if (!block) return { parts: splitAt(bytes, begin), declared: { frames: Math.min(common.blocks, held), sampleRate } };
      // As many blocks as are there: the decoder makes room for as many as are named.
      const blocks = Math.min(common.blocks, held);
      const head = bytes.slice(0, begin);
      viewOf(head).setUint32(common.at + 2, blocks);
      const declared = { frames: blocks * (coding === "ima4" ? 64 : 160), sampleRate };
      return { parts: [{ bytes: head, isWhole: true }, { bytes: bytes.subarray(begin) }], declared };
    }
    at = content + size + (size & 1);
  }
  throw damaged(what, "a COMM chunk, and an SSND chunk behind it", "an AIFF without them");
}

/** An 80-bit float. */
function extended(view: DataView, at: number): number {
  const exponent = view.getUint16(at);
  const value = (view.getUint32(at + 2) * 2 ** 32 + view.getUint32(at + 6)) * 2 ** ((exponent & 0x7fff) - 16383 - 63);
  return exponent & 0x8000 ? -value : value;
}

export function prepareCaf(bytes: Uint8Array, what: string): Prepared {
  const view = viewOf(bytes);
  let rate = 0;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const [id, size, content] = [idAt(bytes, at), Number(view.getBigInt64(at + 4)), at + 12];
    if (id === "desc" && content + 32 <= bytes.length) {
      const [packet, frames, channels, bits] = [16, 20, 24, 28].map((field) => view.getUint32(content + field)) as [number, number, number, number]; // biome-ignore format: one table
      rate = view.getFloat64(content);
      checkSignal(what, rate, channels);
      if (bits > 64) throw damaged(what, "samples of at most 64 bits", `${bits} bits`);
      if (idAt(bytes, content + 8) === "ima4" && !([0, 34 * channels].includes(packet) && [0, 64].includes(frames)))
        throw damaged(what, `ima4 packets of ${34 * channels} bytes for 64 frames`, `${packet} bytes for ${frames} frames`);
    }
    if (id === "data") {
      if (!rate) break;
      return { parts: splitAt(bytes, Math.min(bytes.length, content + 4)) };
    }
    if (size < 0) break;
    at = content + size;
  }
  throw damaged(what, 'a "desc" chunk, and a "data" chunk behind it', "a CAF without them");
}

/** ADPCM; other codings of a WAV are read elsewhere. Blocks: https://wiki.multimedia.cx/index.php/Microsoft_IMA_ADPCM */
export function prepareWav(bytes: Uint8Array, what: string): Prepared {
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [id, size, content] = [idAt(bytes, at), view.getUint32(at + 4, true), at + 8];
    if (id === "fmt " && content + 16 <= bytes.length) checkAdpcm(bytes, content, Math.min(size, bytes.length - content), what);
    if (id === "data") return { parts: splitAt(bytes, content) };
    at = content + size;
  }
  throw damaged(what, 'a "fmt " chunk, and a "data" chunk behind it', "a WAV without them");
}

function checkAdpcm(bytes: Uint8Array, at: number, size: number, what: string): void {
  const view = viewOf(bytes);
  const field = (offset: number): number => view.getUint16(at + offset, true);
  const tag = field(0) === 0xfffe && size >= 26 ? field(24) : field(0);
  if (tag !== MICROSOFT && tag !== IMA) return;
  const [channels, block] = [field(2), field(12)];
  checkSignal(what, view.getUint32(at + 4, true), channels);
  const most = tag === IMA ? (block / channels - 4) * 2 + 1 : ((block - 7 * channels) * 2) / channels + 2;
  if (!(most >= 1)) throw damaged(what, "a block that holds its own header", `${block} bytes for ${channels} channels`);
  if (size >= 20) checkCount(what, "a block of ADPCM", field(18), most);
  if (tag === MICROSOFT && size >= 22) checkCount(what, "the coefficients of ADPCM", field(20), (size - 22) / 4);
}
