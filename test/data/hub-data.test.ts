// Data sets of the hub by their ids: which files are a split, by the card or by names, and rows of them from a server of this machine and from the cache.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hubDataId, resolveData } from "../../lib/data/hub-data.js";
import { openRows } from "../../lib/data/open-rows.js";
import { dataFilesOf, matches } from "../../lib/io/hub/data-files.js";
import { COMMIT, Place } from "../io/hub/place.js";

const test = suite("data sets of the hub");
const parquet = (...answers: string[]) =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: "question", data: answers.map((_, i) => `q${i}`), type: "STRING" },
        { name: "answer", data: answers, type: "STRING" },
      ],
    }),
  );
const card = (yaml: string) => `---\nlicense: mit\n${yaml}\n---\n# A set\n`;
const refused = (run: () => unknown, words: RegExp) =>
  assert.throws(run, (error: Error & { code: string }) => error.code === "E_HUB_FILES" && words.test(error.message));

test("by names: shards of data/, keywords of files and folders, everything otherwise", () => {
  const of = (names: string[], split?: string) => dataFilesOf("o/n", names, undefined, { split });
  const sharded = [
    "README.md",
    "data/test-00000-of-00001.parquet",
    "data/train-00001-of-00002.parquet",
    "data/train-00000-of-00002.parquet",
  ];
  assert.equal(of(sharded), ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]);
  refused(() => of(sharded.slice(0, 3)), /all 2 shards of train, got 1/);
  assert.equal(of(sharded, "test"), ["data/test-00000-of-00001.parquet"]);
  refused(() => of(sharded, "validation"), /o\/n: expected a split of train, test|test, train, got validation; say which with split/);
  assert.equal(of(["train.jsonl", "dev.jsonl", "notes.txt", "my_training_b.csv", "constrain.csv"]), ["my_training_b.csv", "train.jsonl"]);
  assert.equal(of(["train.jsonl", "dev.jsonl"], "validation"), ["dev.jsonl"]);
  assert.equal(of(["eval/a.csv", "train/a.csv"], "test"), ["eval/a.csv"]);
  assert.equal(of(["b.json", "a.tar", "dataset_infos.json", ".hidden.json", "x.png"]), ["a.tar", "b.json"]);
  refused(() => of(["x.png", "README.md"]), /expected Parquet, JSONL.*got x\.png, README\.md/);
});

test("by the card: configs with patterns, folders, the default one", () => {
  const names = ["en/a-1.parquet", "en/a-2.parquet", "en/held.parquet", "de/a-1.parquet", "all/x.jsonl"];
  const text = card(`configs:
- config_name: en
  data_files:
  - split: train
    path: en/a-*.parquet
  - split: held_out
    path: ["en/held.parquet"]
- config_name: de
  default: true
  data_dir: de
  data_files: "a-[0-9].parquet"
- config_name: all
  data_dir: all`);
  const of = (config?: string, split?: string) => dataFilesOf("o/n", names, text, { config, split });
  assert.equal(of(), ["de/a-1.parquet"]);
  assert.equal(of("en"), ["en/a-1.parquet", "en/a-2.parquet"]);
  assert.equal(of("en", "held_out"), ["en/held.parquet"]);
  assert.equal(of("all"), ["all/x.jsonl"]);
  refused(() => of("fr"), /a config of en, de, all, got fr; say which with config/);
  refused(() => of("en", "test"), /a split of train, held_out, got test/);
  assert.equal(dataFilesOf("o/n", names, "no front matter", {}).length, 5);
  assert.equal(dataFilesOf("o/n", names, card("configs: [1, {config_name: [x]}]"), {}).length, 5);
});

test("patterns: folders, letters, classes; a stranger's takes no longer than its length", () => {
  for (const [pattern, path, fits] of [
    ["data/*.csv", "data/a.csv", true],
    ["data/*.csv", "data/b/a.csv", false],
    ["**/*.csv", "data/b/a.csv", true],
    ["**/a.csv", "a.csv", true],
    ["data/**", "data/b/a.csv", true],
    ["a-?.csv", "a-1.csv", true],
    ["a-[0-9][!0-4].csv", "a-17.csv", true],
    ["a-[0-9][!0-4].csv", "a-13.csv", false],
    ["a.csv", "aXcsv", false],
    [`${"*a".repeat(200)}b`, "a".repeat(1000), false],
  ] as const)
    assert.is(matches(pattern, path), fits, `${pattern} ${path}`);
});

test("rows come from the server once, then from the cache, in its layout; with rows of text come their media", async () => {
  await using place = await Place.make({
    "datasets/org/set": {
      commit: COMMIT,
      large: /\.parquet$/,
      files: {
        "README.md": card("pretty_name: x"),
        "data/train-00000-of-00002.parquet": parquet("a", "b"),
        "data/train-00001-of-00002.parquet": parquet("c"),
        "data/test-00000-of-00001.parquet": parquet("t"),
      },
    },
    "datasets/org/plain": {
      commit: COMMIT,
      files: { "rows.jsonl": '{"image": "pics/a.png", "caption": "one"}', "pics/a.png": "bytes", "big.bin": "x" },
    },
  });
  assert.is(hubDataId("org/set"), "org/set");
  assert.is(hubDataId("hf://datasets/org/set@main"), "org/set@main");
  for (const path of ["org/set.jsonl", "/data/none", "./org/set", "set"]) assert.is(hubDataId(path), undefined, path);
  const rows = await openRows({ from: "org/set", weight: 1 }, {});
  assert.equal([rows.length, (await rows.row(2)).turns[1]?.content], [3, ["c"]]);
  await rows.close();
  const snapshot = join(place.cache, "datasets--org--set", "snapshots", COMMIT);
  assert.equal(readdirSync(join(snapshot, "data")).sort(), ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]);
  const before = place.hub.log.filter((line) => line.includes(".parquet")).length;
  assert.equal(
    (await resolveData("org/set@main", { split: "test" })).map((path) => path.startsWith(snapshot) && existsSync(path)),
    [true],
  );
  assert.ok(place.hub.log.filter((line) => line.includes(".parquet")).length > before);
  const plain = await openRows("org/plain", {});
  assert.is((await plain.row(0)).turns[1]?.content[0], "one");
  await plain.close();
  assert.not.ok(existsSync(join(place.cache, "datasets--org--plain", "snapshots", COMMIT, "big.bin")));
  const asked = place.hub.log.length;
  const again = await openRows("org/plain", { localFilesOnly: true });
  assert.is(again.length, 1);
  await again.close();
  assert.is(place.hub.log.length, asked, "no request");
  assert.is((await resolveData("org/set", { localFilesOnly: true })).length, 2, "from its card and files in the cache");
  assert.is(place.hub.log.length, asked, "no request");
  const told = await resolveData("org/none").catch((error: Error & { code: string }) => error);
  assert.is((told as { code?: string }).code, "E_HUB_NOT_FOUND");
});

test.run();
