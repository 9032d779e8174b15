// The shapes of WAV beyond RIFF's four gigabytes, and what stands before and behind the samples: none of it is heard.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { audio, loadAudio } from "../../lib/media/audio.js";
import { rejects } from "./media-case.js";
import { s16, wavFile } from "./wav-file.js";

const VALUES = [100, -200, 300, -32768, 32767];
const WANT = VALUES.map((v) => v / 32768);
const UNKNOWN = 0xffffffff;
const samples = async (bytes: Uint8Array) => Array.from((await loadAudio(audio(bytes))).samples);

function ds64(dataSize: number, table: [id: string, size: number][] = []): [string, Buffer] {
  const chunk = Buffer.alloc(28 + 12 * table.length);
  chunk.writeBigUInt64LE(BigInt(dataSize), 8);
  chunk.writeUInt32LE(table.length, 24);
  for (const [i, [id, size]] of table.entries()) {
    chunk.write(id, 28 + 12 * i, "latin1");
    chunk.writeBigUInt64LE(BigInt(size), 32 + 12 * i);
  }
  return ["ds64", chunk];
}
const NOISE: [string, Buffer][] = [
  ["LIST", Buffer.alloc(50, 0x55)],
  ["axml", Buffer.alloc(7, 0x66)],
];

for (const magic of ["RF64", "BW64"])
  test(`${magic}: as many samples as ds64 says, chunks behind them are no sound`, async () => {
    const data = s16(VALUES);
    assert.equal(await samples(wavFile(data, { magic, dataSize: UNKNOWN, before: [ds64(data.length)], after: NOISE })), WANT);
    assert.equal(await samples(wavFile(data, { magic, before: [ds64(7)], after: NOISE })), WANT, "a size that fits into its field counts");
    const cut = wavFile(data, { magic, dataSize: UNKNOWN, before: [ds64(2 ** 40)] });
    assert.equal(await samples(cut), WANT, "of a file that was cut, what is there");
    for (const length of [0, 4, 27]) {
      const short: [string, Buffer] = ["ds64", ds64(data.length)[1].subarray(0, length)];
      assert.equal(await samples(wavFile(data, { magic, dataSize: UNKNOWN, before: [short] })), WANT, `${length} bytes of ds64`);
    }
    const table: [string, Buffer][] = [ds64(data.length, [["axml", 7]]), ["axml", Buffer.alloc(7)]];
    const tabled = wavFile(data, { magic, dataSize: UNKNOWN, before: table, after: NOISE });
    tabled.writeUInt32LE(UNKNOWN, tabled.indexOf("axml", 60) + 4); // its own size stands in the table
    assert.equal(await samples(tabled), WANT);
  });

test("RIFF with a size that nobody knew: to the end of the file", async () => {
  assert.equal(await samples(wavFile(s16(VALUES), { dataSize: UNKNOWN })), WANT);
  assert.equal(await samples(wavFile(s16(VALUES), { dataSize: 0 })), WANT);
});

test("an odd chunk whose padding was forgotten", async () => {
  const whole = wavFile(s16(VALUES), { before: [["LIST", Buffer.from("odd")]] });
  const at = whole.indexOf("odd") + 3;
  assert.equal(await samples(Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)])), WANT);
  assert.equal(await samples(whole), WANT);
  const bytes = wavFile(Uint8Array.of(0, 128, 255), { bits: 8, after: [["LIST", Buffer.alloc(9, 1)]] });
  assert.equal(await samples(bytes), [-1, 0, 127 / 128]);
});

test("24 bits, plain and extensible, and floats with more in their header", async () => {
  const s24 = Buffer.alloc(9);
  for (const [i, v] of [1, -2, 8388607].entries()) s24.writeIntLE(v, 3 * i, 3);
  for (const extensible of [false, true])
    assert.equal(await samples(wavFile(s24, { bits: 24, extensible })), [1 / 2 ** 23, -2 / 2 ** 23, 1 - 2 ** -23]);
  const floats = Buffer.from(Float32Array.of(0.5, -0.25, 1.5).buffer);
  for (const extensible of [false, true]) {
    const more: [string, Buffer][] = [
      ["fact", Buffer.from([3, 0, 0, 0])],
      ["PEAK", Buffer.alloc(16)],
    ];
    assert.equal(await samples(wavFile(floats, { tag: 3, bits: 32, extensible, before: more, after: more })), [0.5, -0.25, 1.5]);
  }
});

/** Sony Wave64: the first four letters of an id, the rest of its GUID, a size that counts both. */
function wave64(chunks: [id: string, content: Uint8Array][]): Buffer {
  const tail = Buffer.from("f3acd3118cd100c04f8edb8a", "hex");
  const parts = chunks.map(([id, content]) => {
    const head = Buffer.concat([Buffer.from(id, "latin1"), tail, Buffer.alloc(8)]);
    head.writeBigUInt64LE(BigInt(24 + content.length), 16);
    return Buffer.concat([head, content, Buffer.alloc((8 - (content.length % 8)) % 8)]);
  });
  const body = Buffer.concat(parts);
  const head = Buffer.concat([
    Buffer.from("riff"),
    Buffer.from("2e91cf11a5d628db04c10000", "hex"),
    Buffer.alloc(8),
    Buffer.from("wave"),
    tail,
  ]);
  head.writeBigUInt64LE(BigInt(40 + body.length), 16);
  return Buffer.concat([head, body]);
}

test("Wave64", async () => {
  const format = wavFile(s16(VALUES)).subarray(20, 36);
  const file = wave64([
    ["junk", Buffer.alloc(3)],
    ["fmt ", format],
    ["data", s16(VALUES)],
    ["levl", Buffer.alloc(40, 0x77)],
  ]);
  assert.equal(await samples(file), WANT);
  await rejects(loadAudio(audio(file.subarray(0, 60))), "E_MEDIA_FORMAT");
});

test("headers of 64 bits that lie cost neither time nor memory", async () => {
  const data = s16(VALUES);
  for (const size of [0, 2 ** 53, 2])
    assert.ok(
      (await samples(wavFile(data, { magic: "RF64", dataSize: UNKNOWN, before: [ds64(size)] }))).length <= VALUES.length,
      `${size}`,
    );
  const table = ds64(data.length, [["LIST", 2 ** 52]]);
  table[1].writeUInt32LE(UNKNOWN, 24); // more entries than there are
  assert.equal(await samples(wavFile(data, { magic: "RF64", dataSize: UNKNOWN, before: [table] })), WANT);
});

test("FLAC has the scale of WAV", async () => {
  const { samples } = await loadAudio(audio(readFileSync(fileURLToPath(new URL("./files/tones.flac", import.meta.url)))));
  for (const v of samples) {
    const level = v * 65536; // the mean of two channels of 16 bits
    assert.ok(Math.abs(level - Math.round(level)) < 0.02, `${v} lies between the levels`);
  }
});

test.run();
