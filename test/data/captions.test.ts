// Captions from JSONL, JSON lists and CSV: every good row, and every bad one by its number.
import { symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CaptionOptions, readCaptions } from "../../lib/data/captions.js";
import type { DataError } from "../../lib/data/row.js";
import { brief, dataError, Folder, rejects } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  for (const name of ["a.png", "b c.png", "sub/c.png", "d.wav", "e.gif", "f.csv"]) folder.write(name, "bytes");
  folder.write("frames/0.png", "bytes");
  folder.write("empty.wav", "");
});
test.after.each(() => folder.remove());

const json = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");
const ask = { prompts: ["What?"] };
const read = async (path: string, options: CaptionOptions = {}) =>
  (await readCaptions(path, { ...ask, ...options })).map((row) => brief(row, folder).join(" | "));
async function skipping(path: string, options: CaptionOptions = {}): Promise<{ rows: string[]; problems: DataError[] }> {
  const problems: DataError[] = [];
  const rows = await read(path, { ...options, onBadRow: "skip", onProblem: (problem) => problems.push(problem) });
  return { rows, problems };
}
const said = (modality: string, file: string, caption: string) => `user: What?[${modality}:${file}] | assistant: ${caption}`;

test("JSONL: every modality, both names of the caption, a list, blank lines, CRLF and a byte order mark", async () => {
  const rows = [
    { image: "a.png", caption: "one" },
    { audio: "d.wav", text: " two " },
    { video: "e.gif", caption: "three", image: null },
    { video: "frames", caption: "four" },
    { imu: "f.csv", caption: "fünf 🦙", extra: [1] },
  ];
  const want = [
    said("image", "a.png", "one"),
    said("audio", "d.wav", "two"),
    said("video", "e.gif", "three"),
    said("video", "frames", "four"),
    said("imu", "f.csv", "fünf 🦙"),
  ];
  const lines = rows.map((row) => JSON.stringify(row));
  assert.equal(await read(folder.write("a.jsonl", lines.join("\n"))), want);
  assert.equal(await read(folder.write("b.jsonl", `\ufeff${lines.join("\r\n\r\n")}\r\n`)), want);
  assert.equal(await read(folder.write("c.json", JSON.stringify(rows))), want);
  assert.equal(await read(folder.write("d.json", `\ufeff\n ${JSON.stringify(rows, undefined, 2)}\n`)), want);
  const numbered = await readCaptions(folder.write("e.jsonl", `\n${lines.join("\n\n")}`));
  assert.equal(
    numbered.map(({ where }) => where.split("/").at(-1)),
    ["e.jsonl:2", "e.jsonl:4", "e.jsonl:6", "e.jsonl:8", "e.jsonl:10"],
  );
});

test("CSV: quotes, line ends in a field, delimiters, and the line where each row begins", async () => {
  const path = folder.write("a.csv", '\ufeffimage,caption\r\na.png,"a red, ""big""\r\ndog"\r\n\r\n"b c.png",x\r\n');
  assert.equal(await read(path), [said("image", "a.png", 'a red, "big"\ndog'), said("image", "b c.png", "x")]);
  assert.equal(
    (await readCaptions(path)).map(({ where }) => where.split("/").at(-1)),
    ["a.csv:2", "a.csv:5"],
  );
  for (const [name, delimiter] of [
    ["b.tsv", "\t"],
    ["c.csv", ";"],
  ] as const) {
    const text = [
      ["id", "audio", "text"],
      ["1", "d.wav", "one, two"],
    ]
      .map((row) => row.join(delimiter))
      .join("\n");
    assert.equal(await read(folder.write(name, text)), [said("audio", "d.wav", "one, two")]);
  }
});

test("a table is read whatever its name, JSON lines under a table's name too", async () => {
  const table = 'image,caption\na.png,"a ""red"" square, plain"\nb c.png,"a blue\nsquare"\n';
  const want = [said("image", "a.png", 'a "red" square, plain'), said("image", "b c.png", "a blue\nsquare")];
  for (const name of ["captions.txt", "captions", "captions.json", "captions.jsonl", "captions.csv", "captions.tsv"])
    assert.equal((await skipping(folder.write(name, table))).rows, want, name);
  for (const bar of [";", "\t", "|"]) {
    const other = table.replace("image,", `image${bar}`).replaceAll("png,", `png${bar}`).replace(", plain", " plain");
    assert.equal((await skipping(folder.write("captions.txt", other))).rows, [want[0]!.replace(", plain", " plain"), want[1]], bar);
  }
  const lines = '{"image": "a.png", "caption": "one"}\n{"image": "b c.png", "caption": "two"}\n';
  for (const name of ["lines.csv", "lines.txt", "lines", "lines.json"])
    assert.equal((await skipping(folder.write(name, lines))).rows, [said("image", "a.png", "one"), said("image", "b c.png", "two")], name);
  const list = '[{"image": "a.png", "caption": "one"}]';
  assert.equal((await skipping(folder.write("list.csv", list))).rows, [said("image", "a.png", "one")]);
  await rejects(
    read(folder.write("flickr.txt", "1000.jpg#0\tA child\n1000.jpg#1\tA girl\n")),
    dataError("E_DATA", 'text that begins with "1000.jpg#0', "image,caption into the first line"),
  );
  await rejects(read(folder.write("a.txt", "image,title\na.png,x\n")), dataError("E_DATA", "a column caption or text", "image, title"));
});

test("another encoding than UTF-8 is told, with what the bytes would be and the command", async () => {
  const latin1 = Buffer.from("image,caption\na.png,a café\nb c.png,green\n", "latin1");
  const { rows, problems } = await skipping(folder.write("a.csv", latin1));
  assert.equal(rows, [said("image", "b c.png", "green")]);
  assert.match(problems[0]!.message, /a\.csv:2: expected a line of UTF-8, got other bytes, in Latin-1 ".*caf\u00e9".*iconv/);
  const lines = Buffer.from('{"image": "a.png", "caption": "café"}\n{"image": "b c.png", "caption": "green"}\n', "latin1");
  const second = await skipping(folder.write("a.jsonl", lines));
  assert.equal(second.rows, [said("image", "b c.png", "green")]);
  assert.match(second.problems[0]!.message, /a\.jsonl:1: expected one JSON object in UTF-8, got other bytes, in Latin-1.*iconv/);
});

test("CSV: a row that is wrong costs that row", async () => {
  const cases: [string, RegExp][] = [
    ["a.png,one,two", /:3: expected 2 fields as in the header, got 3; quote/],
    ["a.png", /:3: expected 2 fields as in the header, got 1/],
    ['a.png,"open', /:3: expected quotes in pairs around a field, got "last/],
    ['a.png,"one"two', /:3: expected quotes in pairs around a field, got "two" after a closing one/],
    [",one", /:3: expected one of image/],
    ["a.png,", /:3: expected a caption, got ""/],
  ];
  for (const [line, message] of cases) {
    const { rows, problems } = await skipping(folder.write("a.csv", `image,caption\na.png,first\n${line}\na.png,"last"\n`));
    assert.equal(rows, [said("image", "a.png", "first"), said("image", "a.png", "last")], line);
    assert.equal(
      problems.map(({ row }) => row),
      [3],
      line,
    );
    assert.match(problems[0]!.message, message);
  }
  const many = Array.from({ length: 3000 }, (_, i) => `a.png,${i === 5 ? '"' : ""}row ${i}`).join("\n");
  const { rows, problems } = await skipping(folder.write("b.csv", `image,caption\n${many}`));
  assert.is(rows.length, 2999);
  assert.equal(
    problems.map(({ row }) => row),
    [7],
  );
});

test("CSV: a column that is missing is said once, with the columns that are there", async () => {
  await rejects(
    read(folder.write("a.csv", "image,words\na.png,x\n")),
    dataError("E_DATA", "a.csv: expected a column caption or text, got image, words"),
  );
  await rejects(
    read(folder.write("b.csv", "file,caption\na.png,x\n")),
    dataError("E_DATA", "image, video, audio or imu, got file, caption"),
  );
  await rejects(
    read(folder.write("c.csv", "image,caption\na.png,x\n"), { modality: "audio" }),
    dataError("E_DATA", "a column audio, file_name or path"),
  );
  await rejects(read(folder.write("d.csv", "image,caption,image\na.png,x,a.png\n")), dataError("E_DATA", "each column once", "image"));
  await rejects(read(folder.write("e.csv", "image,caption\n")), dataError("E_DATA", "at least one good row, got none"));
  await rejects(read(folder.write("f.csv", Uint8Array.of(0x69, 0xff, 0x0a, 0x61))), dataError("E_DATA", "a header"));
});

test("which medium: the one a row has, or the one that is asked for", async () => {
  const both = { image: "a.png", audio: "d.wav", caption: "x" };
  await rejects(
    read(folder.write("a.jsonl", json(both))),
    dataError("E_ROW", "a.jsonl:1: expected one medium, got image and audio; pass modality"),
  );
  assert.equal(await read(folder.write("a.jsonl", json(both)), { modality: "audio" }), [said("audio", "d.wav", "x")]);
  assert.equal(await read(folder.write("b.jsonl", json({ file_name: "a.png", text: "x" })), { modality: "image" }), [
    said("image", "a.png", "x"),
  ]);
  await rejects(
    read(folder.write("c.jsonl", json({ image: "a.png", caption: "x" })), { modality: "imu" }),
    dataError("E_ROW", "image, caption"),
  );
  await rejects(
    read(folder.write("d.jsonl", json({ file_name: "a.png", text: "x" })), { modality: "thermal" as "image" }),
    dataError("E_DATA", 'image, video, audio, imu as modality, got "thermal"'),
  );
});

test("rows that are wrong: number, what was got, what to do; the others stay", async () => {
  const cases: [unknown, RegExp][] = [
    [{ image: "no.png", caption: "x" }, /expected the image file no\.png, got no such file; paths begin at .*pass root/],
    [{ audio: "empty.wav", caption: "x" }, /expected the audio file empty\.wav, got an empty file/],
    [{ image: "sub", caption: "x" }, /got a folder/],
    [{ image: "/dev/null", caption: "x" }, /got a device or pipe/],
    [{ image: "a\0.png", caption: "x" }, /expected the image file/],
    [{ image: "https://example.org/a.png", caption: "x" }, /got a network address .*; download it first/],
    [{ image: "file:%zz", caption: "x" }, /a file: URL of this machine, got URI malformed.*name its path/],
    [{ image: "a.png" }, /expected a caption, got image; add/],
    [{ image: "a.png", caption: " \n" }, /expected a caption, got " \\n"/],
    [{ image: "a.png", caption: ["x"] }, /expected a caption, got a list of 1/],
    [{ image: "a.png", caption: "see <image>" }, /expected a caption of words, got <image>/],
    [{ image: 5, caption: "x" }, /expected the path of the image, got 5/],
    [{ image: { bytes: 1 }, caption: "x" }, /got an object with bytes/],
    [{ caption: "x" }, /expected one of image, video, audio, imu, got caption/],
    [["a.png", "x"], /expected one JSON object, got a list of 2/],
    [null, /expected one JSON object, got null/],
  ];
  const good = { image: "a.png", caption: "good" };
  for (const [bad, message] of cases) {
    for (const [name, text] of [
      ["a.jsonl", json(good, bad, good)],
      ["a.json", JSON.stringify([good, bad, good])],
    ] as const) {
      const { rows, problems } = await skipping(folder.write(name, text));
      assert.equal(rows, [said("image", "a.png", "good"), said("image", "a.png", "good")], String(message));
      assert.is(problems.length, 1, String(message));
      assert.is(problems[0]!.code, "E_ROW");
      assert.is(problems[0]!.row, 2);
      assert.ok(problems[0]!.message.startsWith(`${join(folder.path, name)}:2: `), problems[0]!.message);
      assert.match(problems[0]!.message, message);
      await rejects(read(join(folder.path, name)), dataError("E_ROW", message));
    }
  }
});

test("the first bad row in the file's order is thrown, however long its check takes", async () => {
  const rows = Array.from({ length: 300 }, (_, i) => ({
    image: i === 70 || i === 71 || i === 299 ? `no-${i}.png` : "a.png",
    caption: "x",
  }));
  for (let i = 0; i < 3; ++i) await rejects(read(folder.write("a.jsonl", json(...rows))), dataError("E_ROW", "a.jsonl:71:", "no-70.png"));
});

test("files that are of no use as a whole", async () => {
  await rejects(read(join(folder.path, "no.jsonl")), dataError("E_DATA", "no such file", "working directory"));
  await rejects(read(folder.path), dataError("E_DATA", "expected a file, got a folder"));
  await rejects(read("/dev/zero"), dataError("E_DATA", "a device or pipe"));
  await rejects(read(folder.write("a.jsonl", "")), dataError("E_DATA", "an empty file"));
  await rejects(read(folder.write("a.jsonl", "\n \n")), dataError("E_DATA", "an empty file"));
  await rejects(read(folder.write("a.parquet", "PAR1")), dataError("E_DATA", "a .parquet file", "JSONL"));
  await rejects(read(folder.write("a.jsonl", Buffer.from('\ufeff{"a":1}', "utf16le"))), dataError("E_DATA", "UTF-16", "UTF-8"));
  await rejects(read(folder.write("a.json", "[]")), dataError("E_DATA", "at least one good row, got none"));
  await rejects(read(folder.write("a.json", '[{"image":"a.png","caption":"x"},{"image"')), dataError("E_DATA", "ends within entry 2"));
  await rejects(read(folder.write("a.json", '[{"image":"a.png","caption":"x"}] {}')), dataError("E_DATA", "nothing after the list"));
  const bad = folder.write("b.jsonl", "{}\n{}\n");
  await rejects(skipping(bad), dataError("E_DATA", "at least one good row, got 2 bad ones; the first: ", ":1: expected a caption"));
  await rejects(read(bad, { onBadRow: "ignore" as "skip" }), dataError("E_DATA", 'onBadRow "throw" or "skip"'));
  await rejects(read(bad, { prompts: [] }), dataError("E_DATA", "at least one prompt"));
});

test("hostile lines: 10 MB, a hundred thousand brackets, bytes that are no text", async () => {
  const long = "x".repeat(10_000_000);
  const good = JSON.stringify({ image: "a.png", caption: "good" });
  const deep = `{"image":${"[".repeat(100_000)}${"]".repeat(100_000)},"caption":"x"}`;
  const parts = [JSON.stringify({ image: "a.png", caption: long }), "\n", deep, "\n", long, "\n", Buffer.of(0xc3, 0x28), "\n", good];
  const { rows, problems } = await skipping(folder.write("a.jsonl", Buffer.concat(parts.map((part) => Buffer.from(part)))));
  assert.equal(
    rows.map((row) => row.length),
    [said("image", "a.png", long).length, said("image", "a.png", "good").length],
  );
  assert.equal(
    problems.map(({ row }) => row),
    [2, 3, 4],
  );
  assert.ok(problems.every(({ message }) => message.length < 1000));
  assert.match(problems[0]!.message, /expected the path of the image, got a list of 1/);
  const list = await skipping(folder.write("a.json", `[${good},${deep},"[{\\"]",${good}]`));
  assert.equal([list.rows.length, list.problems.map(({ row }) => row)], [2, [2, 3]]);
});

test("a JSON list across the borders of what is read at once", async () => {
  const rows = Array.from({ length: 9000 }, (_, i) => ({ image: "a.png", caption: `"[{${i}}]," \\ ${"é".repeat(i % 61)}.` }));
  const path = folder.write("a.json", JSON.stringify(rows, undefined, 1));
  assert.equal(
    (await readCaptions(path)).map(({ turns }) => turns[1]!.content[0]),
    rows.map(({ caption }) => caption),
  );
});

test("paths: a root of one's own, absolute, file: and data: URLs, and confinement", async () => {
  const outside = new Folder();
  try {
    const secret = outside.write("secret.png", "bytes");
    const data = "data:image/png;base64,AAAA";
    const inner = (image: string) => folder.write("sub/a.jsonl", json({ image, caption: "x" }));
    assert.equal(await read(inner("c.png")), [said("image", "sub/c.png", "x")]);
    assert.equal(await read(inner("a.png"), { root: folder.path }), [said("image", "a.png", "x")]);
    assert.equal(await read(inner("../a.png")), [said("image", "a.png", "x")]);
    assert.equal(await read(inner(secret)), [said("image", secret, "x")]);
    assert.equal(await read(inner(`file://${folder.path}/b%20c.png`)), [said("image", "b c.png", "x")]);
    assert.equal(await read(inner(data)), [said("image", data, "x")]);
    for (const image of ["../a.png", secret, `file://${secret}`, "x/../../a.png"])
      await rejects(read(inner(image), { confine: true, checkFiles: false }), dataError("E_ROW", "a path outside of the root"));
    symlinkSync(secret, join(folder.path, "sub/link.png"));
    await rejects(read(inner("link.png"), { confine: true }), dataError("E_ROW", "a link to outside of the root"));
    for (const image of ["c.png", "..c.png", "./x/../c.png", data])
      assert.is((await read(inner(image), { confine: true, checkFiles: false })).length, 1, image);
    assert.is((await read(inner("no.png"), { checkFiles: false })).length, 1);
  } finally {
    outside.remove();
  }
});

test("data that was fetched reads nothing from outside of what was fetched, unless it is allowed", async () => {
  const elsewhere = new Folder();
  try {
    const secret = elsewhere.write("secret.png", "bytes");
    const repository = join(elsewhere.path, "datasets--org--name");
    const blob = elsewhere.write("datasets--org--name/blobs/0123", "a picture");
    const snapshot = join(repository, "snapshots", "4567");
    const downloaded = join(elsewhere.path, "downloaded");
    elsewhere.write("downloaded/.cache/huggingface/download/rows.metadata", "x");
    for (const folder of [snapshot, downloaded]) {
      const at = relative(elsewhere.path, folder);
      elsewhere.write(`${at}/pictures/own.png`, "bytes");
      const rows = (image: string) => elsewhere.write(`${at}/data/rows.jsonl`, json({ image, caption: "x" }));
      assert.is((await readCaptions(rows("../pictures/own.png"))).length, 1);
      for (const image of ["../../secret.png", "../../../../secret.png", secret]) {
        const refused = dataError("E_ROW", "a path outside of the root");
        await rejects(readCaptions(rows(image)), refused);
      }
      await rejects(readCaptions(rows(secret)), dataError("E_ROW", `only media in ${folder} are read`));
      assert.is((await readCaptions(rows(secret), { confine: false })).length, 1);
      symlinkSync(secret, join(folder, "pictures", "out.png"));
      await rejects(readCaptions(rows("../pictures/out.png")), dataError("E_ROW", "a link to outside of the root"));
    }
    // As huggingface_hub lays its cache out.
    symlinkSync(blob, join(snapshot, "pictures", "linked.png"));
    const linked = elsewhere.write(
      "datasets--org--name/snapshots/4567/data/rows.jsonl",
      json({ image: "../pictures/linked.png", caption: "x" }),
    );
    assert.is((await readCaptions(linked)).length, 1);
  } finally {
    elsewhere.remove();
  }
});

test("prompts: the same for the same seed and row, others for another seed; parts get their options", async () => {
  const path = folder.write("a.jsonl", json(...Array.from({ length: 40 }, (_, i) => ({ imu: "f.csv", caption: `${i}` }))));
  const prompts = ["A?", "B?", "C?"];
  const drawn = async (options: CaptionOptions) =>
    (await readCaptions(path, { prompts, ...options })).map(({ turns }) => turns[0]!.content[0]);
  const first = await drawn({ seed: 1 });
  assert.equal(await drawn({ seed: 1 }), first);
  assert.not.equal(await drawn({ seed: 2 }), first);
  assert.equal([...new Set(first)].sort(), prompts);
  const [row] = await readCaptions(path, { prompts: [""], media: { imu: { acceleration: "g" } } });
  assert.equal(row!.turns[0]!.content, [{ modality: "imu", source: join(folder.path, "f.csv"), options: { acceleration: "g" } }]);
});

test("skipping without onProblem warns with a count; an aborted signal stops", async () => {
  const path = folder.write("a.jsonl", json({ image: "a.png", caption: "x" }, {}, {}));
  const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
  assert.is((await read(path, { onBadRow: "skip" })).length, 1);
  assert.match((await warned).message, /a\.jsonl: 2 of 3 rows left out; the first: .*:2: /);
  await rejects(read(path, { signal: AbortSignal.abort() }), (error) => (error as Error).name === "AbortError");
});

test.run();
