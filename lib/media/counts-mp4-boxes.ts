// Boxes of an MP4 as the decoder walks them, so that nothing is decoded which was not looked at.
import { damaged } from "./counts.js";

const CONTAINERS = new Set(["moov", "trak", "mdia", "minf", "stbl", "udta", "edts", "sinf", "wave", "mvex", "traf"]);
const MAX_DEPTH = 16;

/** Hears of each box, containers before what is in them; `body` is where its content begins. */
export type Visit = (type: string, body: number, end: number, depth: number) => void;

export function walkBoxes(view: DataView, from: number, to: number, what: string, visit: Visit, depth = 0): void {
  if (depth > MAX_DEPTH) throw damaged(what, `boxes at most ${MAX_DEPTH} deep`, "deeper ones");
  for (let at = from; at < to - 8; ) {
    const [told, type, body] = [view.getUint32(at), typeAt(view, at + 4), at + 8];
    // A 64-bit size, of which a decoder takes the lower half, and what it says as the box's first bytes. Behind the style of subtitles and chapters
    // it is no box at all: there a font's number is read as a size of 1.
    const size = told === 0 ? to - at : told === 1 && at + 16 <= to ? view.getUint32(at + 12) : told;
    if (size < (told === 1 ? 16 : 8)) return;
    at += size;
    if (type === "mdat") continue;
    if (at > to) return;
    visit(type, body, at, depth);
    if (type === "meta") walkBoxes(view, body + 4, at, what, visit, depth + 1);
    else if (CONTAINERS.has(type)) walkBoxes(view, body, at, what, visit, depth + 1);
  }
}

export const typeAt = (view: DataView, at: number): string =>
  String.fromCharCode(view.getUint8(at), view.getUint8(at + 1), view.getUint8(at + 2), view.getUint8(at + 3));

/** Boxes that lie side by side at the file's own level. The last may be cut. */
export function* outerBoxes(view: DataView): Generator<{ type: string; at: number; end: number; isLong: boolean }> {
  for (let at = 0; at + 8 <= view.byteLength; ) {
    const told = view.getUint32(at);
    const isLong = told === 1;
    if (isLong && at + 16 > view.byteLength) return;
    const size = told === 0 ? view.byteLength - at : isLong ? Number(view.getBigUint64(at + 8)) : told;
    if (size < (isLong ? 16 : 8)) return;
    yield { type: typeAt(view, at + 4), at, end: at + size, isLong };
    at += size;
  }
}
