// MP4 files of PCM, box by box: with tables, or in fragments.
import { Buffer } from "node:buffer";

export const u16 = (...values: number[]): Buffer => Buffer.concat(values.map((v) => Buffer.from([v >> 8, v & 255])));
export const u32 = (...values: number[]): Buffer =>
  Buffer.concat(values.map((v) => Buffer.from([24, 16, 8, 0].map((s) => (v / 2 ** s) & 255))));
export function box(type: string, ...content: Buffer[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([u32(8 + body.length), Buffer.from(type, "latin1"), body]);
}

export interface Mp4Options {
  channels?: number;
  rate?: number;
  /** Of a sound description of version 2. */
  rate64?: number;
  /** What the tables say, where it differs from what is there. */
  count?: number;
  sampleSize?: number;
  chunks?: number[];
  /** A table of sizes, in place of one for all. */
  sizes?: number[];
  /** Samples in a chunk. */
  perChunk?: number;
  isFragmented?: boolean;
  /** In trun. */
  trun?: number;
}

/** 16-bit little-endian samples of one channel behind one another. */
export function mp4Of(samples: readonly number[], options: Mp4Options = {}): Buffer {
  const { channels = 1, rate = 8000, rate64, isFragmented = false, sampleSize = 2 } = options;
  const data = Buffer.from(new Uint8Array(Int16Array.from(samples).buffer));
  const count = isFragmented ? 0 : (options.count ?? samples.length);
  const v0 = [Buffer.alloc(6), u16(1), u16(0, 0), u32(0), u16(channels, 16, 0, 0), u16(rate, 0)];
  const float = Buffer.alloc(8);
  if (rate64 !== undefined) float.writeDoubleBE(rate64);
  const v2 = [
    Buffer.alloc(6),
    u16(1),
    u16(2, 0),
    u32(0),
    u16(3, 16, 0xfffe, 0),
    u32(0x10000, 72),
    float,
    u32(channels, 0x7f000000, 16, 4, 2, 1),
  ];
  const entry = rate64 === undefined ? box("sowt", ...v0) : box("lpcm", ...v2);
  const ftyp = box("ftyp", Buffer.from("isom\0\0\0\0isom", "latin1"));
  const moov = (at: number[]): Buffer =>
    box(
      "moov",
      box("mvhd", u32(0, 0, 0, 1000, Math.round((samples.length / rate) * 1000)), Buffer.alloc(80)),
      box(
        "trak",
        box("tkhd", u32(0, 0, 0, 1), Buffer.alloc(68)),
        box(
          "mdia",
          box("mdhd", u32(0, 0, 0, rate, samples.length, 0)),
          box("hdlr", u32(0, 0), Buffer.from("soun", "latin1"), Buffer.alloc(13)),
          box(
            "minf",
            box(
              "stbl",
              box("stsd", u32(0, 1), entry),
              box("stsz", ...(options.sizes ? [u32(0, 0, count, ...options.sizes)] : [u32(0, isFragmented ? 0 : sampleSize, count)])),
              box("stsc", isFragmented ? u32(0, 0) : u32(0, 1, 1, options.perChunk ?? samples.length, 1)),
              box("stco", isFragmented ? u32(0, 0) : u32(0, at.length, ...at)),
            ),
          ),
        ),
      ),
      ...(isFragmented ? [box("mvex", box("trex", u32(0, 1, 1, 1, sampleSize, 0)))] : []),
    );
  if (isFragmented) {
    const moof = (offset: number): Buffer =>
      box("moof", box("mfhd", u32(0, 1)), box("traf", box("tfhd", u32(0, 1)), box("trun", u32(1, options.trun ?? samples.length, offset))));
    return Buffer.concat([ftyp, moov([]), moof(moof(0).length + 8), box("mdat", data)]);
  }
  const begin = ftyp.length + moov(options.chunks ?? [0]).length + 8;
  return Buffer.concat([ftyp, moov(options.chunks ?? [begin]), box("mdat", data)]);
}

/** The same file with its header behind the samples, as recorders write it. */
export function movieLast(file: Buffer): Buffer {
  const at = file.indexOf("moov", 0, "latin1") - 4;
  const size = file.readUInt32BE(at);
  const moov = Buffer.from(file.subarray(at, at + size));
  for (let table = moov.indexOf("stco", 0, "latin1"); table >= 0; table = moov.indexOf("stco", table + 4, "latin1"))
    for (let i = 0; i < moov.readUInt32BE(table + 8); ++i) {
      const where = table + 12 + 4 * i;
      if (moov.readUInt32BE(where) > at) moov.writeUInt32BE(moov.readUInt32BE(where) - size, where);
    }
  return Buffer.concat([file.subarray(0, at), file.subarray(at + size), moov]);
}

/** The same file with one more track in its header, of text with a style as ffmpeg writes chapters and subtitles. */
export function withChapters(file: Buffer): Buffer {
  // Flags, justification, colour, box; a style from 0 to 0 in font 1, which an eye for boxes takes for a size of 1; a table of no fonts.
  const style = [Buffer.from([0, 0, 0, 1]), Buffer.alloc(14), u16(0, 0, 1, 0), u32(0, 13), Buffer.from("ftab\0\x01\0\x01\0", "latin1")];
  const stbl = box("stbl", box("stsd", u32(0, 1), box("text", Buffer.alloc(6), u16(1), ...style)));
  const hdlr = box("hdlr", u32(0, 0), Buffer.from("text", "latin1"), Buffer.alloc(13));
  const media = box("mdia", box("mdhd", u32(0, 0, 0, 1000, 1, 0)), hdlr, box("minf", stbl));
  const track = box("trak", box("tkhd", u32(0, 0, 0, 9), Buffer.alloc(68)), media);
  return withTrack(file, track);
}

/** The same file with its track once more. */
export function withTwin(file: Buffer): Buffer {
  const at = file.indexOf("trak", 0, "latin1") - 4;
  return withTrack(file, file.subarray(at, at + file.readUInt32BE(at)));
}

function withTrack(file: Buffer, track: Buffer): Buffer {
  const at = file.indexOf("moov", 0, "latin1") - 4;
  const end = at + file.readUInt32BE(at);
  const moov = box("moov", file.subarray(at + 8, end), track);
  for (let table = moov.indexOf("stco", 0, "latin1"); table >= 0; table = moov.indexOf("stco", table + 4, "latin1"))
    for (let i = 0; i < moov.readUInt32BE(table + 8); ++i) {
      const where = table + 12 + 4 * i;
      if (moov.readUInt32BE(where) > at) moov.writeUInt32BE(moov.readUInt32BE(where) + track.length, where);
    }
  return Buffer.concat([file.subarray(0, at), moov, file.subarray(end)]);
}
