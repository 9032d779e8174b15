// `anymal data check`: what a user sees of data before training, and what a program does.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { COMMIT } from "../io/hub/place.js";
import { run } from "./program.js";

const test = suite("anymal data");
const folder = mkdtempSync(join(tmpdir(), "anymal-data-cli-"));
const path = (name: string) => join(folder, name);
test.before(() => {
  writeFileSync(path("a.png"), "bytes");
  writeFileSync(path("good.csv"), "image,caption\na.png,one\na.png,two words\n");
  writeFileSync(path("talk.jsonl"), '{"question": "q", "answer": "a"}\n'.repeat(4));
  writeFileSync(path("bad.jsonl"), '{"image": "a.png", "caption": "x"}\n{"image": "no.png", "caption": "y"}\n{\n');
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("for people: what is there, what is wrong by cause and by row, where the good rows are", async () => {
  const good = await run(["data", "check", path("good.csv")]);
  assert.is(good.code, 0, good.err);
  assert.match(good.out, /good\.csv: 2 good rows, 0 bad ones\n.*layout +2 captions\n.*answers +2\n.*media +2 image\n/s);
  const bad = await run(["data", "check", path("bad.jsonl"), "--fix"]);
  assert.is(bad.code, 1);
  assert.match(
    bad.out,
    /1 good rows, 2 bad ones.*written +.*bad\.clean\.jsonl.*what is wrong, by cause\n +1 +expected the image file, got no such file/s,
  );
  assert.match(bad.err, /bad\.jsonl:2: expected the image file no\.png.* \[column image\]\n.*bad\.jsonl:3: expected one JSON object/s);
  const none = await run(["data", "check", path("none.jsonl")]);
  assert.equal([none.code, none.out], [1, ""]);
  assert.match(none.err, /none\.jsonl: expected a readable file, got no such file/);
});

test("for machines: a line a file", async () => {
  const { out, code } = await run(["data", "check", path("good.csv"), path("bad.jsonl"), "--json"]);
  assert.is(code, 1);
  const [first, second] = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal([first.rows, first.bad, first.layouts], [2, 0, { captions: 2 }]);
  assert.equal([second.rows, second.bad, second.problems[0].row, second.problems[0].column], [1, 2, 2, "image"]);
});

test("a mixture: what share each file has, and how often it is gone through", async () => {
  const more = ["--weight", "1", "--weight", "3"];
  const people = await run(["data", "check", path("good.csv"), path("talk.jsonl"), ...more]);
  assert.is(people.code, 0, people.err);
  assert.match(people.out, /the mixture.*\n +25\.0 % +0\.750 times +.*good\.csv\n +75\.0 % +1\.13 times +.*talk\.jsonl/s);
  const { out } = await run([
    "data",
    "check",
    path("good.csv"),
    path("talk.jsonl"),
    "--modality-weight",
    "image=1",
    "--modality-weight",
    "text=1",
    "--json",
  ]);
  const { mixture } = JSON.parse(out.trim().split("\n").at(-1) as string);
  assert.equal(mixture, [
    { file: path("good.csv"), share: 0.5, passes: 1.5 },
    { file: path("talk.jsonl"), share: 0.5, passes: 0.75 },
  ]);
  const wrong = await run(["data", "check", path("good.csv"), path("talk.jsonl"), "--weight", "1"]);
  assert.is(wrong.code, 2);
  assert.match(wrong.err, /a --weight is needed for each file: there are 1 for 2/);
});

test("a data set of the hub, of which one split is looked at, and a published one through its reader", async () => {
  const snapshot = join(folder, "hub", "datasets--org--set", "snapshots", COMMIT);
  const put = (file: string, text: string) => {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };
  put(join(folder, "hub", "datasets--org--set", "refs", "main"), COMMIT);
  const row = '{"question": "q", "answer": "a"}\n';
  for (const [name, rows] of [
    ["data/train-00000-of-00002.jsonl", 1],
    ["data/train-00001-of-00002.jsonl", 2],
    ["data/test-00000-of-00001.jsonl", 4],
  ] as const)
    put(join(snapshot, name), row.repeat(rows));
  process.env.HF_HUB_CACHE = join(folder, "hub");
  try {
    const [test, both] = await Promise.all([
      run(["data", "check", "org/set", "--split", "test", "--local-files-only", "--json"]),
      run(["data", "check", "org/set", path("talk.jsonl"), "--weight", "1", "--weight", "1", "--local-files-only", "--json"]),
    ]);
    assert.is(test.code, 0, test.err);
    assert.equal(
      test.json().map(({ rows }) => rows),
      [4],
    );
    assert.is(both.code, 0, both.err);
    assert.equal(
      both.json().map(({ rows }) => rows),
      [1, 2, 4, undefined],
    );
    const { mixture } = both.json().at(-1) as { mixture: { file: string; passes: number }[] };
    assert.equal(
      mixture.map(({ file, passes }) => [file, Number(passes.toFixed(3))]),
      [
        ["org/set", 1.167],
        [path("talk.jsonl"), 0.875],
      ],
    );
    const fix = await run(["data", "check", "org/set", "--local-files-only", "--fix"]);
    assert.equal([fix.code, /those of org\/set lie in the hub's cache/.test(fix.err)], [2, true]);
  } finally {
    delete process.env.HF_HUB_CACHE;
  }
  const sounds = path("clotho.csv");
  put(sounds, "file_name,caption_1,caption_2\na.png,one,two\n");
  const read = await run(["data", "check", sounds, "--as", "clotho", "--json"]);
  assert.equal([read.code, read.json()[0]?.rows], [0, 2], read.err);
});

test.run();
