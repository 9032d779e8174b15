// WebDataset's shards: as Python's tarfile has written them (test/fixtures/sources, GNU and pax), as modern-tar does, and archives that are no good.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { packTar } from "modern-tar";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../../lib/data/any-layout.js";
import { DataError, type Row } from "../../../lib/data/row.js";
import { TarRecords } from "../../../lib/data/sources/tar.js";
import { AnymalError } from "../../../lib/index.js";
import { BUILT_IN } from "../../../lib/media/kinds/index.js";
import { caseFolder } from "../../case.js";
import { dataError, Folder, rejects } from "../files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

const fixture = (name: string) => join(caseFolder("sources"), name);
const told = (value: unknown): unknown =>
  value instanceof Uint8Array ? Buffer.from(value).toString() : Array.isArray(value) ? value.map(told) : value;
async function samples(path: string): Promise<unknown[]> {
  const records = await TarRecords.open(path, BUILT_IN);
  const all: unknown[] = [];
  for (let i = records.length - 1; i >= 0; --i) {
    const record = await records.record(i);
    all.unshift(
      record instanceof DataError
        ? record.message.replace(path, "")
        : Object.fromEntries(Object.entries(record.fields).map(([key, value]) => [key, told(value)])),
    );
  }
  await records.close();
  return all;
}
const packed = async (files: Readonly<Record<string, string>>) =>
  folder.write(
    "packed.tar",
    await packTar(Object.entries(files).map(([name, body]) => ({ header: { name, size: Buffer.byteLength(body) }, body }))),
  );

test("what tarfile has written, as GNU and as pax: long names, folders, links that are never followed, names that belong to no sample", async () => {
  const messages = [
    { role: "user", content: "<image><image>Same?" },
    { role: "assistant", content: "No." },
  ];
  const want = [
    { __key__: "shard/0001", caption: "a caption, fünf", image: "one" },
    { __key__: "shard/0002", caption: "two", image: "two" },
    { __key__: `shard/${"x".repeat(150)}é`, caption: "long", audio: "three" },
    { __key__: "shard/0004", caption: "no picture" },
    { __key__: "shard/0005", messages, images: ["five-0", "five-1"] },
  ];
  for (const name of ["shard-gnu.tar", "shard-pax.tar"]) assert.equal(await samples(fixture(name)), want, name);
});

test("rows of it: captions and conversations with their bytes, the path in its JSON is not opened", async () => {
  const problems: string[] = [];
  const rows = await readRows(fixture("shard-pax.tar"), {
    prompts: ["?"],
    onBadRow: "skip",
    onProblem: ({ message }) => problems.push(message),
  });
  const parts = rows.map(({ turns }: Row) =>
    turns.flatMap(({ content }) => content.map((part) => (typeof part === "string" ? part : `${part.modality} ${told(part.source)}`))),
  );
  assert.equal(parts, [
    ["?", "image one", "a caption, fünf"],
    ["?", "image two", "two"],
    ["?", "audio three", "long"],
    ["image five-0", "image five-1", "Same?", "No."],
  ]);
  assert.match(
    problems.join(),
    /shard-pax\.tar:4: expected a row of captions, which has image, video, audio or imu too, got __key__, caption/,
  );
});

test("samples are told by their keys: endings of the same, kinds that stand in them, what nobody reads", async () => {
  const path = await packed({
    "a.imu.csv": "1,2", "a.json": '{"caption": "moves"}', "a.seg.bin": "x",
    "b.txt": "one", "b.TXT": "two",
    "c.json": "[1]",
    "d.json": "{oops",
    "sub.dir/e.jpg": "e", "sub.dir/e.cls": "7",
    "f.json": '{"caption": "of its JSON", "image": "/elsewhere/f.jpg", "images": ["/elsewhere/g.jpg"]}', "f.png": "f", "f.txt": "of its text",
    "g.txt": "of its text", "g.json": '{"caption": "of its JSON"}',
    ".hidden": "x", "__index__.json": "{}", "at/__of__.txt": "x",
  }); // biome-ignore format: a sample a line
  const [a, b, c, d, e, f, g, ...rest] = await samples(path);
  assert.equal(a, { __key__: "a", caption: "moves", imu: "1,2" });
  assert.match(String(b), /:2: expected one file \.txt in sample "b", got two; give each sample a name/);
  assert.match(String(c), /:3: expected one JSON object in \.json in sample "c", got a list of 1/);
  assert.match(String(d), /:4: expected one JSON object in \.json in sample "d"/);
  assert.equal(e, { __key__: "sub.dir/e", label: "7", image: "e" });
  // Text files go before what the JSON says, in whichever order they lie; what lies beside it, before paths of wherever it was written.
  assert.equal(f, { __key__: "f", caption: "of its text", image: "f" });
  assert.equal(g, { __key__: "g", caption: "of its text" });
  assert.equal(rest, []);
});

test("shards as img2dataset writes them: a picture, its caption, and what was fetched from where", async () => {
  const said = { caption: "a ring", url: "https://example.com/a.jpg", key: "000000000", status: "success", error_message: null, width: 4, height: 4, exif: "{}", sha256: "00" }; // biome-ignore format: as it stands there
  const path = await packed({ "000000000.jpg": "a", "000000000.json": JSON.stringify(said), "000000000.txt": "a ring", "000000001.jpg": "b", "000000001.txt": "a cross" }); // biome-ignore format: two samples
  const rows = await readRows(path, { prompts: ["?"] });
  const told = rows.map(({ turns }: Row) =>
    turns.map(({ content }) => content.map((one) => (typeof one === "string" ? one : one.modality)).join()),
  );
  assert.equal(told, [
    ["?,image", "a ring"],
    ["?,image", "a cross"],
  ]);
});

test("an archive that is cut off, compressed or none is one error; what is damaged never takes more than there is", async () => {
  const open = (content: string | Uint8Array) => TarRecords.open(folder.write("bad.tar", content), BUILT_IN);
  const whole = readFileSync(fixture("shard-gnu.tar"));
  await rejects(open(whole.subarray(0, 1836)), dataError("E_DATA", "an end within the"));
  await rejects(open("x".repeat(5000)), dataError("E_DATA", "a whole tar archive", /another sum|no number/));
  await rejects(
    open(Buffer.concat([Buffer.from([0x1f, 0x8b]), Buffer.alloc(2000, 7)])),
    dataError("E_DATA", "compressed has to be unpacked"),
  );
  for (let seed = 0; seed < 60; ++seed) {
    const broken = Buffer.from(whole);
    for (let k = 0; k < 3; ++k) broken[((seed * 7919 + k * 104729) * 31) % 6000] = (seed * 37 + k * 11) & 255;
    try {
      const records = await open(broken);
      for (let i = 0; i < records.length; ++i) await records.record(i);
      await records.close();
    } catch (error) {
      assert.instance(error, AnymalError, String((error as Error).stack));
    }
  }
});

test.run();
