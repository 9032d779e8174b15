// The samples of an MP4's track, walked as its decoder walks them: where each lies, how long it is.
import { checkCount, damaged } from "./counts.js";
import { isDense } from "./flac-frames.js";

/** Where the tables of a track begin, behind the boxes' headers. */
export interface Track {
  sizes?: number;
  chunks?: number;
  offsets?: { body: number; isLong: boolean };
  /** How many samples a table of one size for all counts. */
  alike?: number;
  /** Whether a description of it names one of the codings of sound. */
  isSound?: boolean;
}

/** Bytes: what FLAC needs for the longest frame that it cannot compress. */
const MAX_SAMPLE = 2 << 20;
/** A decoder looks for a chunk's entry from the end of the table. An hour of film at 30 pictures a second, sound between any two, asks for 10^10. */
const MAX_LOOKS = 2 ** 34;

/** The samples up to the first that does not lie in the file must not take more bytes than the file has: else they overlap, and a byte is decoded many times. */
export function checkSamples(view: DataView, { sizes, chunks, offsets, isSound }: Track, file: Uint8Array, what: string): void {
  if (sizes === undefined || !offsets) return;
  const fileSize = file.length;
  const [oneSize, count] = [view.getUint32(sizes + 4), view.getUint32(sizes + 8)];
  const offsetCount = view.getUint32(offsets.body + 4);
  const offsetOf = (chunk: number): number =>
    offsets.isLong ? Number(view.getBigUint64(offsets.body + 8 + 8 * chunk)) : view.getUint32(offsets.body + 8 + 4 * chunk);
  const entries = chunks === undefined ? 0 : view.getUint32(chunks + 4);
  const firstOf = (entry: number): number => view.getUint32(chunks! + 8 + 12 * entry);
  for (let i = 1; i < entries; ++i)
    if (firstOf(i) <= firstOf(i - 1)) throw damaged(what, "ascending chunks in stsc", `${firstOf(i)} behind ${firstOf(i - 1)}`);
  checkCount(what, "stsc, times the chunks", entries * offsetCount, MAX_LOOKS);
  if (offsetCount === 0) return;
  let [chunk, inChunk, entry, at, total] = [0, 0, -1, offsetOf(0), 0];
  for (let i = 0; i < count; ++i) {
    const size = oneSize || view.getUint32(sizes + 12 + 4 * i);
    if (at + size > fileSize) return;
    if (isSound && (size > MAX_SAMPLE || isDense(file.subarray(at, at + size))))
      throw damaged(what, "samples that each hold a frame of sound", `one of ${size} bytes`);
    total += size;
    if (total > fileSize) throw damaged(what, "samples that lie one behind the other", "samples that take more bytes than the file has");
    at += size;
    while (entry + 1 < entries && firstOf(entry + 1) <= chunk + 1) ++entry;
    const perChunk = entry < 0 ? 1 : view.getUint32(chunks! + 12 + 12 * entry);
    if (++inChunk < perChunk || chunk + 1 >= offsetCount) continue;
    [chunk, inChunk] = [chunk + 1, 0];
    at = offsetOf(chunk);
  }
}
