// The samples of an MP4 that comes in fragments: counts of trun boxes, which need no byte a sample.
import { checkCount, damaged } from "./counts.js";
import { outerBoxes, walkBoxes } from "./counts-mp4-boxes.js";

const MAX_FRAGMENT = 16 << 20;

/** Samples in the file, a sample of no bytes counted as one, must not take more bytes than it has; `usualSize` is theirs where a fragment gives none. */
export function checkFragments(view: DataView, usualSize: number, what: string): void {
  let total = 0;
  for (const { type, at, end, isLong } of outerBoxes(view)) {
    if (type !== "moof" || end > view.byteLength) continue;
    if (isLong) throw damaged(what, "boxes of 32-bit sizes in moov and moof", "a 64-bit size of moof");
    checkCount(what, "moof (bytes)", end - at, MAX_FRAGMENT);
    let [base, size, next] = [at, usualSize, undefined as number | undefined];
    walkBoxes(view, at + 8, end, what, (type, body, to) => {
      if (type === "traf") [base, size, next] = [at, usualSize, undefined];
      if ((type !== "tfhd" && type !== "trun") || body + 8 > to) return;
      const flags = view.getUint32(body) & 0xffffff;
      let field = body + 8;
      const take = (bytes: number): number => {
        if (field + bytes > to) throw damaged(what, `fields inside of ${type}`, `${to - body} bytes`);
        field += bytes;
        return field - bytes;
      };
      if (type === "tfhd") {
        if (flags & 1) base = Number(view.getBigUint64(take(8)));
        if (flags & 2) take(4);
        if (flags & 8) take(4);
        if (flags & 0x10) size = view.getUint32(take(4));
        return;
      }
      const count = view.getUint32(body + 4);
      let offset = next ?? base;
      if (flags & 1) offset = base + view.getInt32(take(4));
      if (flags & 4) take(4);
      const each = 4 * [0x100, 0x200, 0x400, 0x800].filter((flag) => flags & flag).length;
      checkCount(what, "trun", count, each ? (to - field) / each : view.byteLength / Math.max(1, size));
      for (let i = 0; i < count; ++i) {
        const bytes = flags & 0x200 ? view.getUint32(field + i * each + (flags & 0x100 ? 4 : 0)) : size;
        if (offset + bytes <= view.byteLength) total += Math.max(1, bytes);
        offset += bytes;
        if (total > 2 * view.byteLength)
          throw damaged(what, "samples that lie one behind the other", "samples that take more bytes than the file has");
      }
      next = offset;
    });
  }
}
