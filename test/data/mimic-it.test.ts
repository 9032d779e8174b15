// MIMIC-IT's two files as conversations: related instructions before their own, pictures by id as files; what is missing is told.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../lib/data/any-layout.js";
import { writeMimicIt } from "../../lib/data/mimic-it.js";
import { mediaOf } from "../../lib/data/row.js";

const test = suite("MIMIC-IT");
const root = mkdtempSync(join(tmpdir(), "anymal-mimic-it-"));
test.after(() => rmSync(root, { recursive: true, force: true }));
const file = (name: string, value: unknown) => {
  writeFileSync(join(root, name), typeof value === "string" ? value : JSON.stringify(value, null, 1));
  return join(root, name);
};
const base64 = (text: string) => Buffer.from(text, "latin1").toString("base64");

const IMAGES = { "LA_IMG_0/../x": base64("\x89first"), 'q"uote': base64("second picture"), unused: base64("third"), empty: "" };
const one = (instruction: string, image_ids: string[], rel_ins_ids: string[] = []) => ({ instruction, answer: `answer to ${instruction}`, image_ids, rel_ins_ids }); // biome-ignore format: one line
const DATA = {
  a: one("what is it?", ["LA_IMG_0/../x"], ["b", "c"]),
  b: one("what <image>else?", ['q"uote', "LA_IMG_0/../x"]),
  c: one("and without a picture?", []),
};
const both = (data: object) => [file("ins.json", { meta: { version: "0.0.1" }, data }), file("img.json", IMAGES)] as const;

test("rows with their examples before them, which training reads; shots keep the first", async () => {
  const output = join(root, "out");
  assert.equal(await writeMimicIt(...both(DATA), output), { rows: 3, pictures: 2 });
  const rows = await readRows(join(output, "rows.jsonl"));
  assert.equal(rows.map(({ turns }) => turns.length), [6, 2, 2]); // biome-ignore format: one line
  assert.equal(rows.map((row) => mediaOf(row).length), [3, 2, 0]); // biome-ignore format: one line
  const [first] = rows;
  const texts = first!.turns.map(({ content }) => content.filter((part) => typeof part === "string").join(""));
  assert.equal(texts, ["what else?", "answer to what else?", "and without a picture?", "answer to and without a picture?", "what is it?", "answer to what is it?"]); // biome-ignore format: one line
  const [row] = readFileSync(join(output, "rows.jsonl"), "utf8").split("\n").map((line) => line && JSON.parse(line)); // biome-ignore format: one line
  const bytes = row.images.map((name: string) => readFileSync(join(output, name), "latin1"));
  assert.equal(bytes, ["second picture", "\x89first", "\x89first"]);
  assert.equal(
    row.images.map((name: string) => name.replace(/^.*\./, "")),
    ["jpg", "png", "png"],
  ); // by their first byte
  const few = join(root, "few");
  await writeMimicIt(...both(DATA), few, { shots: 1 });
  assert.equal((await readRows(join(few, "rows.jsonl"))).map(({ turns }) => turns.length), [4, 2, 2]); // biome-ignore format: one line
});

test("what is missing is told and the others are kept; without onProblem nothing is written", async () => {
  const data = { ...DATA, d: one("no picture", ["gone"]), e: one("no other", [], ["z"]), f: { instruction: "x" }, g: one("empty", ["empty"]), h: one("of a bad one", [], ["f"]), i: { ...one("x", []), image_ids: 3 } }; // biome-ignore format: one line
  const problems: string[] = [];
  const { rows } = await writeMimicIt(...both(data), join(root, "some"), { onProblem: ({ message }) => problems.push(message) });
  assert.equal([rows, problems.length], [3, 6]);
  for (const [i, wanted] of [
    /"gone"/,
    /"z"/,
    /an instruction and an answer/,
    /"empty"/,
    /an instruction and an answer/,
    /lists of ids/,
  ].entries())
    assert.match(problems[i]!, wanted);
  const error = await writeMimicIt(...both(data), join(root, "none")).then(() => undefined, (cause) => cause); // biome-ignore format: one line
  assert.is(error.code, "E_ROW");
  assert.not.ok(existsSync(join(root, "none", "rows.jsonl")));
});

test("of two pictures under one id the first counts", async () => {
  const [ins] = both({ a: one("what is it?", ["twice"]) });
  const images = file("twice.json", `{"twice": "${base64("first")}", "twice": "${base64("second")}"}`);
  assert.equal(await writeMimicIt(ins, images, join(root, "twice")), { rows: 1, pictures: 1 });
  assert.equal(
    readdirSync(join(root, "twice/images")).map((name) => readFileSync(join(root, "twice/images", name), "utf8")),
    ["first"],
  );
});

test("files of another kind, cut ones and unknown options are refused", async () => {
  const [ins] = both(DATA);
  const code = (work: Promise<unknown>) => work.then(() => "none", ({ code: given, message }) => `${given}: ${message}`); // biome-ignore format: one line
  for (const text of ["[1]", "{", '{"data": 3}']) assert.match(await code(writeMimicIt(file("bad.json", text), file("img.json", IMAGES), root)), /^E_DATA/); // biome-ignore format: one line
  assert.match(await code(writeMimicIt(ins, file("cut.json", '{"a": "abc'), join(root, "cut"))), /ends within a text/);
  assert.match(await code(writeMimicIt(ins, file("bad.json", '{"a": "\\x"}'), join(root, "cut"))), /texts as JSON writes them/);
  assert.match(await code(writeMimicIt(ins, ins, root, { shot: 1 } as object)), /did you mean "shots"/);
  assert.match(await code(writeMimicIt(ins, ins, root, { shots: -1 })), /0 or more/);
});

test.run();
