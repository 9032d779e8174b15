// Counts, rates and channels that the bytes cannot hold are refused before anything is decoded: believed, each of these runs for minutes or takes gigabytes.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { audio, loadAudio, type Sound } from "../../lib/media/audio.js";
import { prepared } from "../../lib/media/prepare-sound.js";
import { rejects } from "./media-case.js";
import { box, movieLast, mp4Of, u32, withChapters, withTwin } from "./mp4-file.js";

const MOST = 0x7fffffff;
const load = (bytes: Uint8Array): Promise<Sound> => loadAudio(audio(bytes));
const tones = (kind: string): Buffer => readFileSync(fileURLToPath(new URL(`./files/tones.${kind}`, import.meta.url)));
const ramp = Array.from({ length: 900 }, (_, i) => i * 30);
const rampSamples = Float32Array.from(ramp, (v) => v / 32768);

/** Bytes that a decoder gets. */
const handed = (kind: string, bytes: Buffer): number => [...prepared(kind, bytes, "").parts].reduce((n, part) => n + part.bytes.length, 0);

/** Where a word begins, each time. */
function* places(bytes: Buffer, word: string): Generator<number> {
  for (let at = bytes.indexOf(word, 0, "latin1"); at >= 0; at = bytes.indexOf(word, at + 1, "latin1")) yield at;
}
function with32(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt32BE(value, at);
  return copy;
}

for (const kind of ["m4a", "mp4"])
  for (const table of ["stsz", "stco", "stsc", "stts", "elst"])
    test(`${kind}: a count in ${table} that its box does not hold`, async () => {
      const file = tones(kind);
      const at = [...places(file, table)];
      assert.ok(at.length > 0);
      for (const place of at) {
        const count = place + (table === "stsz" ? 12 : 8);
        if (file.readUInt32BE(place + 8) && table === "stsz") continue; // one size for all
        for (const value of [MOST, 0xffffffff, file.readUInt32BE(count) + 1])
          await rejects(load(with32(file, count, value)), "E_MEDIA_FORMAT", new RegExp(`entries in ${table}`), new RegExp(`got ${value}`));
      }
    });

test("an MP4 whose samples have one size: as many as there are, or refused", async () => {
  assert.equal((await load(mp4Of(ramp))).samples, rampSamples);
  assert.equal((await load(mp4Of(ramp, { count: 1100 }))).samples, rampSamples, "a count that a longer file would hold: it was cut");
  await rejects(load(mp4Of(ramp, { count: MOST })), "E_MEDIA_FORMAT", /stsz/);
  const cut = mp4Of(ramp).subarray(0, -600);
  assert.equal((await load(cut)).samples, rampSamples.slice(0, 600));
});

test("an MP4 of many tracks: what their tables take together has a limit, for a heap that is full may end the process", async () => {
  const silence = mp4Of(new Int16Array(9 << 20) as unknown as number[], { sampleSize: 1, count: 18 << 20, rate: 60_000 });
  await rejects(load(withTwin(silence)), "E_MEDIA_FORMAT", /stsz of all tracks/, /got 37748736/);
  assert.equal((await load(withTwin(mp4Of(ramp)))).samples, rampSamples);
});

test("an MP4 in fragments: samples without sizes of their own", async () => {
  assert.equal((await load(mp4Of(ramp, { isFragmented: true }))).samples, rampSamples);
  for (const trun of [MOST, 0xffffffff, 5000]) await rejects(load(mp4Of(ramp, { isFragmented: true, trun })), "E_MEDIA_FORMAT", /trun/);
  await rejects(load(mp4Of(ramp, { isFragmented: true, trun: MOST, sampleSize: 0 })), "E_MEDIA_FORMAT", /trun/);
});

test("an MP4 whose header comes last gives the same samples", async () => {
  for (const file of [tones("m4a"), tones("mp4"), mp4Of(ramp)]) {
    const moved = movieLast(file);
    assert.ok(moved.indexOf("moov") > moved.indexOf("mdat"));
    assert.equal(await load(moved), await load(file));
  }
});

test("an MP4 with chapters: their style looks like a box of a 64-bit size", async () => {
  for (const file of [tones("m4a"), tones("mp4"), mp4Of(ramp)]) assert.equal(await load(withChapters(file)), await load(file));
});

test("an MP4 in which many samples are the same bytes", async () => {
  const sizes = ramp.map(() => 1800);
  const at = (begin: number) => mp4Of(ramp, { sizes, perChunk: 1, chunks: ramp.map(() => begin) });
  const file = at(at(0).length - 1800);
  await rejects(load(file), "E_MEDIA_FORMAT", /more bytes than the file has/);
});

test("an MP4 whose description of the sound cannot be true", async () => {
  assert.is((await load(mp4Of(ramp, { rate64: 8000 }))).sampleRate, 8000);
  for (const rate64 of [0, -8000, Number.NaN, Infinity, 1e9]) await rejects(load(mp4Of(ramp, { rate64 })), "E_MEDIA_FORMAT", /Hz/);
  for (const channels of [256, MOST]) await rejects(load(mp4Of(ramp, { rate64: 8000, channels })), "E_MEDIA_FORMAT", /channels/);
  const file = tones("m4a");
  const esds = file.indexOf("esds") + 8;
  const endless = Buffer.from(file);
  endless.fill(0xff, esds + 1, esds + 7); // a length of more than four bytes
  await rejects(load(endless), "E_MEDIA_FORMAT", /esds/);
  await rejects(load(with32(file, file.indexOf("trak") - 4, 1)), "E_MEDIA_FORMAT", /no audio track/i);
  let deep: Buffer = box("free", u32(0, 0));
  for (let i = 0; i < 20_000; ++i) deep = i % 64 ? Buffer.concat([u32(8 + deep.length), Buffer.from("udta"), deep]) : box("udta", deep);
  await rejects(load(Buffer.concat([box("ftyp", u32(0, 0)), box("moov", deep)])), "E_MEDIA_FORMAT", /deep/);
});

test("an AIFF with a rate that is none, and with more blocks than it has bytes", async () => {
  const file = tones("aiff");
  const common = file.indexOf("COMM") + 8;
  const rate = (...bytes: number[]): Buffer => {
    const copy = Buffer.from(file);
    copy.set(bytes, common + 8);
    return copy;
  };
  await rejects(load(rate(0xff, 0xff)), "E_MEDIA_FORMAT", /-Infinity Hz/);
  await rejects(load(rate(0x7f, 0xff)), "E_MEDIA_FORMAT", /Infinity Hz/);
  await rejects(load(rate(0xc0)), "E_MEDIA_FORMAT", /-\d+ Hz/);
  await rejects(load(rate(0x3f, 0xfe)), "E_MEDIA_FORMAT", /Hz/);
  const many = Buffer.from(file);
  many.writeUInt16BE(0x7fff, common);
  await rejects(load(many), "E_MEDIA_FORMAT", /32767 channels/);
  // Two blocks of silence, said to be 2^31.
  const comm = Buffer.concat([
    Buffer.from([0, 1]),
    u32(MOST),
    Buffer.from([0, 16]),
    file.subarray(common + 8, common + 18),
    Buffer.from("ima4\0\0"),
  ]);
  const chunk = (id: string, content: Buffer): Buffer => Buffer.concat([Buffer.from(id), u32(content.length), content]);
  const aifc = (bits: number, coding = "ima4"): Buffer => {
    const common = Buffer.concat([comm.subarray(0, 6), Buffer.from([0, bits]), comm.subarray(8, 18), Buffer.from(`${coding}\0\0`)]);
    const sound = chunk("SSND", Buffer.concat([u32(0, 0), Buffer.alloc(68)]));
    return chunk("FORM", Buffer.concat([Buffer.from("AIFC"), chunk("COMM", common), sound]));
  };
  const { samples, sampleRate } = await load(aifc(16));
  assert.equal([samples.length, sampleRate], [128, 16000]);
  // Writers say 0 bits of what is compressed.
  assert.equal((await load(aifc(0))).samples, samples);
  assert.is((await load(aifc(0, "ulaw"))).samples.length, 68);
  await rejects(load(aifc(0, "sowt")), "E_MEDIA_FORMAT", /0 bits/);
});

test("CAF: packets of another length than ima4 has", async () => {
  const caf = (packet: number, frames: number, rate = 8000, channels = 1): Buffer => {
    const float = Buffer.alloc(8);
    float.writeDoubleBE(rate);
    const desc = Buffer.concat([float, Buffer.from("ima4"), u32(0, packet, frames, channels, 0)]);
    const head = Buffer.concat([Buffer.from("caff\0\x01\0\0", "latin1"), Buffer.from("desc"), u32(0, 32), desc]);
    return Buffer.concat([head, Buffer.from("data"), u32(0, 72, 0), Buffer.alloc(68)]);
  };
  assert.is((await load(caf(34, 64))).samples.length, 128);
  await rejects(load(caf(34, MOST)), "E_MEDIA_FORMAT", /64 frames/);
  await rejects(load(caf(1, 64)), "E_MEDIA_FORMAT", /34 bytes/);
  for (const rate of [0, -1, Number.NaN, Infinity]) await rejects(load(caf(34, 64, rate)), "E_MEDIA_FORMAT", /Hz/);
  await rejects(load(caf(34, 64, 8000, MOST)), "E_MEDIA_FORMAT", /channels/);
});

test("ADPCM in a WAV: more samples than a block holds", async () => {
  const file = readFileSync(fileURLToPath(new URL("./files/tones-adpcm.wav", import.meta.url)));
  const format = file.indexOf("fmt ") + 8;
  const write = (at: number, value: number): Buffer => {
    const copy = Buffer.from(file);
    copy.writeUInt16LE(value, format + at);
    return copy;
  };
  await rejects(load(write(18, 65535)), "E_MEDIA_FORMAT", /block of ADPCM/);
  for (const block of [0, 1, 7]) await rejects(load(write(12, block)), "E_MEDIA_FORMAT", /block/);
  await rejects(load(write(2, 65535)), "E_MEDIA_FORMAT", /65535 channels/);
  await rejects(load(write(2, 0)), "E_MEDIA_FORMAT", /0 channels/);
});

test("WebM: rates and channels of its tracks, and an element that is larger than the file", async () => {
  const file = tones("webm");
  const want = await load(file);
  const rate = file.indexOf(Buffer.from([0xb5, 0x88])) + 2;
  for (const value of [0, -1, Number.NaN, Infinity]) {
    const copy = Buffer.from(file);
    copy.writeDoubleBE(value, rate);
    await rejects(load(copy), "E_MEDIA_FORMAT", /Hz/);
  }
  const channels = file.indexOf(Buffer.from([0x9f, 0x81])) + 2;
  const none = Buffer.from(file);
  none[channels] = 0;
  await rejects(load(none), "E_MEDIA_FORMAT", /0 channels/);
  // What is no sound is left out: a decoder would copy it anew with each piece.
  const size = Buffer.from([0x10, 0x10, 0, 0]);
  const voids = Buffer.concat([file, Buffer.from([0xec]), size, Buffer.alloc(1 << 20)]);
  assert.equal(await load(voids), want);
  assert.ok(handed("webm", voids) <= file.length + 12);
});

test("FLAC: what lies between the header and the sound is left out", async () => {
  const file = tones("flac");
  const want = await load(file);
  const info = Buffer.from(file.subarray(0, 42));
  info[4] = 0;
  let at = 4;
  while (file[at]! < 128) at += 4 + file.readUIntBE(at + 1, 3);
  at += 4 + file.readUIntBE(at + 1, 3);
  const picture = Buffer.concat([Buffer.from([128 + 6, 0x40, 0, 0]), Buffer.alloc(4 << 20, "fLaC\xff\xf8", "latin1")]);
  const pictured = Buffer.concat([info, picture, file.subarray(at)]);
  assert.equal(await load(pictured), want);
  assert.ok(handed("flac", pictured) <= file.length);
});

test.run();
