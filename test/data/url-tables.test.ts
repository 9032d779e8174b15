// Keys of tables that others made name pictures of their own folder, and nothing else.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { obelicsRecords } from "../../lib/data/obelics.js";
import { laionRecords } from "../../lib/data/url-tables.js";
import { Folder, parquetOf } from "./files.js";

const test = suite("tables of URLs");

test("a key that leads out of its folder names no picture", async () => {
  const folder = new Folder();
  folder.write("secret.jpg", "bytes");
  folder.write("00000/000000001.jpg", "bytes");
  const keys = ["../secret", "000000001", "/secret"];
  const path = folder.write("00000.parquet", parquetOf({ url: keys.map((_, i) => `https://x/${i}`), key: keys, caption: ["a", "b", "c"] }));
  const found: unknown[] = [];
  for await (const record of laionRecords(path)) found.push("fields" in record && record.fields.image);
  assert.equal(found, ["00000/000000001.jpg"]);
  folder.remove();
});

test("a blank text beside a picture is none, in OBELICS' documents", async () => {
  const folder = new Folder();
  const columns = { images: [["a.jpg", null, "b.jpg"]], texts: [[" ", "Words.", null]] };
  const documents: string[] = [];
  for await (const record of obelicsRecords(folder.write("d.parquet", parquetOf(columns)))) documents.push(JSON.stringify(record));
  assert.is(documents.length, 1);
  assert.match(documents[0]!, /"images":\["a\.jpg"\]/);
  folder.remove();
});

test.run();
