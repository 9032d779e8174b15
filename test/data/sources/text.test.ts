// Rows that stay in their file are those that are read at once: the same fields, numbers and problems, wherever a chunk of the file ends.
import { appendFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { recordsOf } from "../../../lib/data/records.js";
import { DataError } from "../../../lib/data/row.js";
import { CsvScanner } from "../../../lib/data/sources/csv-scanner.js";
import { EntryScanner, LineScanner, type Scanner } from "../../../lib/data/sources/spans.js";
import { TextRecords } from "../../../lib/data/sources/text.js";
import { BUILT_IN } from "../../../lib/media/kinds/index.js";
import { dataError, Folder, rejects } from "../files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

const told = (record: unknown) => (record instanceof DataError ? record.message : record);
async function atOnce(path: string): Promise<unknown[]> {
  const all = [];
  for await (const record of recordsOf(path)) all.push(told(record));
  return all;
}
/** From the last row to the first, so that no row leans on the one before. */
async function oneByOne(path: string): Promise<unknown[]> {
  const records = await TextRecords.open(path, BUILT_IN);
  const all: unknown[] = [];
  for (let i = records.length - 1; i >= 0; --i) {
    const record = await records.record(i);
    assert.is(records.numberOf(i), record instanceof DataError ? record.row : record.number);
    all.unshift(told(record));
  }
  await records.close();
  return all;
}

const LINES = [
  '{"a": 1}\n{"b": "x\\ny"}\n',
  '\ufeff{"a": 1}\r\n\r\n  \n{"b": 2}\r\n[1]\n{\n"last"',
  `{"long": "${"x".repeat(400_000)}"}\n{"b": 2}\n\n\n{"c": "fünf 🦙"}`,
  `${Array.from({ length: 3000 }, (_, i) => `{"i": ${i}, "t": "${"word ".repeat(i % 40)}"}`).join("\n")}\n`,
];
const LISTS = [
  '[{"a": "]}\\"[{"}, {"b": [1, {"c": "\\\\"}]},\n {"d": 2}, 7, ]',
  "[]",
  '\ufeff [\n  {"a": "\\\\\\""},\n{"b": 1}\n]\n\n',
  '[{"a" 1}, {"b": 2}]',
  `[${Array.from({ length: 3000 }, (_, i) => `{"i": ${i}, "t": "${'\\"'.repeat(i % 40)}"}`).join(",\n")}]`,
];
const TABLES = [
  'image,caption\na,"one, ""two""\r\nthree"\n\n\r\nb,two,\n"c",x"y\nd,"open\ne,f\n',
  'image\tcaption\na\t"x"\nb\t"y"z\n',
  "\ufeffimage;caption\r\na;\r\n;b\r\n;",
  `image,caption\n${Array.from({ length: 3000 }, (_, i) => `${i}.png,"${i % 3 ? "words " : "two\nlines"}${i % 5 ? "" : '""'}${"x".repeat(i % 90)}"`).join("\n")}\n`,
  `image,caption\n${Array.from({ length: 1500 }, (_, i) => `${i}.png,${i === 700 ? '"' : ""}row`).join("\n")}`,
];
const FILES = [
  ...LINES.map((text) => ["rows.jsonl", text] as const),
  ...LISTS.map((text) => ["rows.json", text] as const),
  ...TABLES.map((text) => ["rows.csv", text] as const),
];

test("fields, numbers and problems are those of reading at once", async () => {
  for (const [i, [name, text]] of FILES.entries()) {
    const path = folder.write(`${i}-${name}`, text);
    assert.equal(await oneByOne(path), await atOnce(path), text.slice(0, 60));
  }
  const latin = folder.write("latin.csv", Buffer.from("image,caption\na.png,caf\xe9\nb,x\n", "latin1"));
  assert.equal(await oneByOne(latin), await atOnce(latin));
});

test("rows are found wherever a chunk ends", () => {
  const spansOf = (make: () => Scanner, bytes: Buffer, size: number) => {
    const scanner = make();
    const reused = Buffer.alloc(size);
    for (let at = 0; at < bytes.length; at += size) {
      const length = bytes.copy(reused, 0, at, at + size);
      scanner.feed(reused.subarray(0, length), at);
    }
    scanner.end();
    return Array.from({ length: scanner.spans.length }, (_, i) => scanner.spans.at(i));
  };
  const fail = (): never => {
    throw new Error("a broken list");
  };
  for (const [make, texts] of [
    [() => new LineScanner(), LINES.slice(0, 2)],
    [() => new EntryScanner(fail), LISTS.slice(0, 4)],
    [() => new CsvScanner("t.csv"), TABLES.slice(0, 3)],
  ] as const)
    for (const text of texts) {
      const bytes = Buffer.from(text.replace("\ufeff", ""));
      const whole = spansOf(make, bytes, bytes.length);
      for (let size = 1; size < Math.min(40, bytes.length); ++size) assert.equal(spansOf(make, bytes, size), whole, `${size}: ${text}`);
    }
});

test("lists that are broken as a whole, and files that are none", async () => {
  const open = (path: string) => TextRecords.open(path, BUILT_IN);
  await rejects(open(folder.write("a.json", '[{"a": 1}, {')), dataError("E_DATA", "cut off", "entry 2"));
  await rejects(open(folder.write("b.json", '[{"a": 1}] x')), dataError("E_DATA", "more at entry 2"));
  await rejects(open(folder.write("c.jsonl", "")), dataError("E_DATA", "an empty file"));
  await rejects(open(folder.write("d.csv", 'image,"caption\na,b\n')), dataError("E_DATA", "a header"));
  await rejects(open(`${folder.path}/none.jsonl`), dataError("E_DATA", "no such file"));
  await rejects(open(folder.write("e.xlsx", "x")), dataError("E_DATA", "a .xlsx file"));
});

test("a file that has changed meanwhile is no file of bad rows", async () => {
  const path = folder.write("rows.jsonl", '{"a": 1}\n{"b": 2}\n');
  const records = await TextRecords.open(path, BUILT_IN);
  folder.write("rows.jsonl", '{"another": "file"}\n');
  await rejects(records.record(1), dataError("E_DATA", "the file as it was when reading began", "begin anew"));
  await records.close();
  const grown = await TextRecords.open(path, BUILT_IN);
  appendFileSync(path, '{"c": 3}\n');
  assert.equal(told(await grown.record(0)), { number: 1, fields: { another: "file" } });
  await grown.close();
});

test("a row longer than any row is costs itself", async () => {
  const path = folder.write("rows.jsonl", `{"a": 1}\n{"b": "${"x".repeat(65 << 20)}"}\n{"c": 3}\n`);
  const [first, second, third] = await oneByOne(path);
  assert.equal(
    [first, third],
    [
      { number: 1, fields: { a: 1 } },
      { number: 3, fields: { c: 3 } },
    ],
  );
  assert.match(String(second), /rows\.jsonl:2: expected one JSON object, got more than 67108864 bytes/);
});

test.run();
