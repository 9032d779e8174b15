// Parquet as pyarrow 25 has written it (test/fixtures/sources: seven rows in groups of three, in every packing), and files that are damaged.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../../lib/data/any-layout.js";
import { openRows } from "../../../lib/data/open-rows.js";
import type { DataError, Row } from "../../../lib/data/row.js";
import { ParquetRecords } from "../../../lib/data/sources/parquet.js";
import { AnymalError } from "../../../lib/index.js";
import type { ImagePart } from "../../../lib/media/image.js";
import { loadImage } from "../../../lib/media/image.js";
import { caseFolder } from "../../case.js";
import { dataError, Folder, rejects } from "../files.js";

const fixture = (name: string) => join(caseFolder("sources"), name);
const CODECS = ["none", "snappy", "zstd", "gzip", "lz4", "brotli"];

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

test("what pyarrow has written, in every packing: whole numbers, nulls, times, lists of messages, pictures as bytes", async () => {
  for (const codec of CODECS) {
    const records = await ParquetRecords.open(fixture(`talk-${codec}.parquet`));
    assert.is(records.length, 7);
    assert.equal(records.blocks, [3, 3, 1]);
    assert.equal(records.columns, ["id", "image", "messages", "score", "when"]);
    for (const i of [6, 0, 3, 5, 1, 4, 2]) {
      const { number, fields } = await records.record(i);
      assert.is(number, i + 1);
      const { image, ...rest } = fields as { image: { bytes: Uint8Array | null; path: string } | null };
      assert.equal(
        rest as unknown,
        {
          id: 2 ** 40 + i,
          messages: [
            { role: "user", content: i < 5 ? `<image>What ${i}? fünf 🦙` : "Hello?" },
            { role: "assistant", content: `number ${i}` },
          ],
          score: i % 2 ? null : i / 2,
          when: `2026-01-0${1 + i}T00:00:00.000Z`,
        },
        codec,
      );
      if (i === 5) assert.not.ok(image);
      else assert.is(image?.path, `${i}.png`);
      if (i < 4) assert.equal([...(image?.bytes ?? [])].slice(0, 4), [0x89, 0x50, 0x4e, 0x47]);
    }
    await records.close();
  }
});

test("rows: the bytes are the medium, wherever the path leads; a row without bytes is one of a file", async () => {
  const problems: string[] = [];
  const rows = await readRows(fixture("talk-snappy.parquet"), {
    onBadRow: "skip",
    onProblem: ({ message }: DataError) => problems.push(message),
  });
  assert.is(rows.length, 6);
  const [picture, question] = (rows[2] as Row).turns[0]!.content as [ImagePart, string];
  assert.is(question, "What 2? fünf 🦙");
  assert.equal([...(await loadImage(picture)).data.slice(0, 3)], [60, 100, 200]);
  assert.equal((rows[5] as Row).turns[0]?.content.length, 2, "a picture without a mark follows the question");
  assert.is(problems.length, 1);
  assert.match(problems.join("\n"), /talk-snappy\.parquet:5: expected the image file 4\.png, got no such file/);
  const source = await openRows(fixture("talk-snappy.parquet"), {});
  assert.equal([source.length, source.held, source.blocks], [7, false, [3, 3, 1]]);
  assert.is(source.where(6), `${fixture("talk-snappy.parquet")}:7`);
  assert.equal((await source.row(5)).turns[0]?.content, ["Hello?"]);
  await source.close();
});

test("tables of captions: media as paths, columns of binary; groups are read once while their rows are asked for", async () => {
  folder.write("a.png", "bytes");
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: "image", data: Array.from({ length: 40 }, () => "a.png"), type: "STRING" },
      { name: "caption", data: Array.from({ length: 40 }, (_, i) => `row ${i}`), type: "STRING" },
    ],
    rowGroupSize: [10],
  });
  const source = await openRows(folder.write("paths.parquet", new Uint8Array(bytes)), { prompts: ["?"] });
  assert.equal(source.blocks, [10, 10, 10, 10]);
  for (const i of [39, 0, 25]) assert.equal((await source.row(i)).turns[1]?.content, [`row ${i}`]);
  await source.close();
  const raw = parquetWriteBuffer({
    columnData: [
      { name: "image", data: [readFileSync(fixture("shard-gnu.tar"))], type: "BYTE_ARRAY" },
      { name: "text", data: ["raw"], type: "STRING" },
    ],
  });
  const [row] = await readRows(folder.write("raw.parquet", new Uint8Array(raw)), { prompts: ["?"] });
  const [, picture] = (row as Row).turns[0]?.content ?? [];
  assert.instance((picture as ImagePart | undefined)?.source, Uint8Array);
});

test("a damaged file is one error of ours, wherever it is damaged, and never more memory than it may take", async () => {
  for (const codec of ["snappy", "zstd", "gzip"]) {
    const whole = readFileSync(fixture(`talk-${codec}.parquet`));
    let [refused, read] = [0, 0];
    for (let seed = 0; seed < 24; ++seed) {
      const broken = Buffer.from(whole);
      for (let k = 0; k < 3; ++k) broken[((seed * 7919 + k * 104729) * 31) % broken.length] = (seed * 37 + k * 11) & 255;
      const path = folder.write(
        `broken-${codec}-${seed}.parquet`,
        seed % 5 ? broken : whole.subarray(0, Math.floor((whole.length * seed) / 24)),
      );
      try {
        const records = await ParquetRecords.open(path);
        try {
          for (let i = 0; i < Math.min(records.length, 20); ++i) await records.record(i);
        } finally {
          await records.close();
        }
        ++read;
      } catch (error) {
        assert.instance(error, AnymalError, `${codec} ${seed}: ${(error as Error).stack}`);
        ++refused;
      }
    }
    assert.ok(refused > 4, `${refused} of ${refused + read} refused`);
  }
  await rejects(ParquetRecords.open(folder.write("none.parquet", "no parquet at all")), dataError("E_DATA", "another end than PAR1"));
  await rejects(ParquetRecords.open(folder.write("tiny.parquet", "PAR1")), dataError("E_DATA", "4 bytes"));
  const long = Buffer.from(readFileSync(fixture("talk-none.parquet")));
  long.writeUInt32LE(2 ** 31, long.length - 8);
  await rejects(ParquetRecords.open(folder.write("long.parquet", long)), dataError("E_DATA", "a description of 2147483648 bytes"));
});

/** A number as page headers hold it (Thrift, compact): a varint of its zigzag. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let left = 2 * value;
  for (; left >= 128; left = Math.floor(left / 128)) bytes.push((left % 128) + 128);
  return Buffer.from([...bytes, left]);
}

test("a page that claims more values than its group has rows is refused before room is made for them", async () => {
  const rows = 70_000; // a claim of a million is as many bytes
  const bytes = parquetWriteBuffer({
    columnData: [
      { name: "question", data: Array.from({ length: rows }, (_, i) => `q ${i % 3}`), type: "STRING" },
      { name: "answer", data: Array.from({ length: rows }, () => "a"), type: "STRING" },
    ],
    rowGroupSize: [rows],
  });
  const whole = Buffer.from(bytes);
  const good = await ParquetRecords.open(folder.write("good.parquet", whole));
  assert.equal(((await good.record(rows - 1)) as { fields: object }).fields, { question: `q ${(rows - 1) % 3}`, answer: "a" });
  await good.close();
  // A header of version 2 (field 8) begins with its number of values.
  const header = (values: number) => Buffer.concat([Buffer.from([0x5c, 0x15]), varint(values)]);
  const at = whole.indexOf(header(rows));
  assert.ok(at > 0);
  const claim = header(1_000_000);
  const path = folder.write("claims.parquet", Buffer.concat([whole.subarray(0, at), claim, whole.subarray(at + claim.length)]));
  const records = await ParquetRecords.open(path);
  await rejects(
    records.record(0),
    dataError("E_DATA", "a page of 1000000 values, 0 of them none, where 70000 of the column question can be left"),
  );
  await records.close();
});

test("so is a group of more rows than a file of its size can tell apart", async () => {
  const rows = 20_000;
  const data = Array.from({ length: rows }, () => "a");
  const whole = Buffer.from(parquetWriteBuffer({ columnData: [{ name: "text", data, type: "STRING" }], rowGroupSize: [rows] }));
  const [truth, claim] = [varint(rows), varint(1_000_000)];
  for (let at = whole.indexOf(truth); at >= 0; at = whole.indexOf(truth, at)) claim.copy(whole, at);
  await rejects(ParquetRecords.open(folder.write("rows.parquet", whole)), dataError("E_DATA", "1000000 rows in group 1 of a file of"));
});

test.run();
