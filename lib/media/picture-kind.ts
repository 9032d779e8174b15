// What the first bytes of a picture's file say it is, whatever its name: who reads it, or what to do with a kind that is not read here.

export type PictureKind = "bmp" | "gif" | "jpeg" | "png" | "webp" | "avif" | "tiff";

export interface Unread {
  /** As a message calls it. */
  name: string;
  /** What to do instead. */
  remedy: string;
}

const text = (bytes: Uint8Array, from: number, to: number): string => Buffer.from(bytes.subarray(from, to)).toString("latin1");
const magick = (kind: string) => `convert it first: magick in.${kind} out.png`;

/** A kind that is read, one that is known and not read, or undefined. */
export function pictureKind(bytes: Uint8Array): PictureKind | Unread | undefined {
  const head = text(bytes, 0, 16);
  if (head.startsWith("\xff\xd8\xff")) return "jpeg";
  if (head.startsWith("\x89PNG")) return "png";
  if (head.startsWith("GIF8")) return "gif";
  if (/^RIFF....WEBP/s.test(head)) return "webp";
  if (/^(II\*\0|MM\0\*|II\+\0|MM\0\+)/.test(head)) return "tiff";
  if (head.slice(4, 8) === "ftyp") return isoKind(bytes);
  if (isBmp(bytes)) return "bmp";
  return OTHERS.find(([starts]) => starts.some((start) => head.startsWith(start)))?.[1] ?? markup(bytes);
}

/** ISO's box of brands: the first is the file's own, the others are those it also keeps to. */
function isoKind(bytes: Uint8Array): PictureKind | Unread {
  const length = Math.min(Buffer.from(bytes.subarray(0, 4)).readUInt32BE(0), 256);
  const brands = text(bytes, 8, length).match(/.{4}/gs) ?? [];
  if (brands.some((brand) => /^avi[fs]$/.test(brand))) return "avif";
  if (brands.some((brand) => /^(hei[cxms]|hev[cx]|mif1|msf1)$/.test(brand)))
    return {
      name: "HEIC (an iPhone's or a camera's)",
      remedy: "convert it to JPEG first: heif-convert in.heic out.jpg, on a Mac sips -s format jpeg in.heic --out out.jpg",
    };
  return { name: `a video or another ISO file (${brands[0]?.trim()})`, remedy: "pass it to video(…), or take a frame of it" };
}

/** "BM" alone begins texts too: the size of the next header tells. */
function isBmp(bytes: Uint8Array): boolean {
  return bytes[0] === 0x42 && bytes[1] === 0x4d && bytes.length >= 18 && [12, 16, 40, 52, 56, 64, 108, 124].includes(bytes[14]!);
}

const OTHERS: readonly [readonly string[], Unread][] = [
  [["\0\0\0\x0cjP  ", "\xff\x4f\xff\x51"], { name: "JPEG 2000", remedy: magick("jp2") }],
  [["\xff\x0a", "\0\0\0\x0cJXL "], { name: "JPEG XL", remedy: "convert it first: djxl in.jxl out.png" }],
  [["\0\0\x01\0", "\0\0\x02\0"], { name: "an icon (ICO or CUR)", remedy: magick("ico") }],
  [["8BPS"], { name: "Photoshop's PSD", remedy: magick("psd") }],
  [["P1\n", "P2\n", "P3\n", "P4\n", "P5\n", "P6\n", "P7\n"], { name: "PNM (PBM, PGM, PPM)", remedy: magick("ppm") }],
  [["%PDF"], { name: "PDF", remedy: "render a page of it first: pdftoppm -png in.pdf out" }],
  [["%!PS"], { name: "PostScript", remedy: magick("eps") }],
  [["PK\x03\x04", "\x1f\x8b"], { name: "an archive (zip or gzip)", remedy: "unpack it first" }],
  [["version https:"], { name: "a pointer of Git LFS", remedy: "fetch the files themselves: git lfs pull" }],
];

/** What a failed download often leaves under a picture's name. */
function markup(bytes: Uint8Array): Unread | undefined {
  const start = Buffer.from(bytes.subarray(0, 512))
    .toString("latin1")
    .replace(/^\xef\xbb\xbf/, "")
    .trimStart()
    .toLowerCase();
  if (/^(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!doctype svg|<svg)/s.test(start))
    return { name: "an SVG drawing", remedy: "render it first: rsvg-convert in.svg -o out.png" };
  if (/^<(!doctype html|html|head|body|\?xml)/.test(start))
    return { name: "a web page or XML", remedy: "fetch the picture again: the server sent a page in its place" };
  return /^[{[]/.test(start) ? { name: "JSON", remedy: "fetch the picture again: the server sent a message in its place" } : undefined;
}
