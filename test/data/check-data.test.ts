// Data is looked at before anything is trained: every bad row with its column, how many rows each cause has cost, what the good ones hold, and these alone
// written out.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../lib/data/any-layout.js";
import { checkData, type DataProblem } from "../../lib/data/check-data.js";
import { promptLength } from "../../lib/text/fit-parts.js";
import { promptParts } from "../../lib/text/prompt.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseFolder, caseNames } from "../case.js";
import { Folder, rejects } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  folder.write("a.png", "bytes");
});
test.after.each(() => folder.remove());

const lines = (...rows: unknown[]) => rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n");
const talk = (...values: string[]) => values.map((value, i) => ({ from: i % 2 ? "gpt" : "human", value }));
const ROWS = [
  { image: "a.png", caption: "one" },
  { image: "b.png", caption: "two" },
  "{oops",
  { image: "a.png", conversations: talk("<image>Which?", "A long answer.", "And?", "So.") },
  { image: "c.png", conversations: talk("<image>?", "x") },
  { conversations: talk("<image>?", "") },
  { instruction: "Say", output: "hi" },
  { captions: "nothing", image: "a.png" },
];

test("counts, layouts, columns and causes; lists of problems are those that were told", async () => {
  const path = folder.write("rows.jsonl", lines(...ROWS));
  const told: DataProblem[] = [];
  const { problems, ...report } = await checkData(path, { prompts: ["?"], onProblem: (problem) => told.push(problem) });
  assert.equal(problems, told);
  assert.equal(
    { ...report, causes: Object.values(report.causes) },
    {
      ...{ file: path, rows: 3, bad: 5, layouts: { captions: 1, llava: 1, alpaca: 1 }, exchanges: 4 },
      ...{ media: { image: 2, video: 0, audio: 0, imu: 0 }, tokens: {}, causes: [2, 1, 1, 1] },
      longest: { where: `${path}:4`, length: "Which?A long answer.And?So.".length, unit: "characters" },
      ...{ meanLength: (4 + 27 + 5) / 3, cut: 0 },
    },
  );
  assert.equal(
    problems.map(({ row, column }) => [row, column]),
    [
      [2, "image"],
      [3, undefined],
      [5, "image"],
      [6, "conversations"],
      [8, undefined],
    ],
  );
  assert.is(Object.keys(report.causes)[0], "expected the image file, got no such file");
  assert.ok(problems.every(({ message, row }) => message.startsWith(`${path}:${row}: expected `)));
});

test("fix writes the good rows beside the file, which read as they did; never over a file, never of bytes", async () => {
  const path = folder.write("rows.jsonl", lines(...ROWS));
  const { clean } = await checkData(path, { fix: true });
  assert.is(clean, join(folder.path, "rows.clean.jsonl"));
  assert.equal(
    readFileSync(clean as string, "utf8")
      .trimEnd()
      .split("\n"),
    [0, 3, 6].map((i) => JSON.stringify(ROWS[i])),
  );
  const again = await checkData(clean as string);
  assert.equal([again.rows, again.bad], [3, 0]);
  assert.is((await readRows(clean as string)).length, 3);
  await rejects(checkData(path, { fix: true }), (error) => (error.code as string) === "E_FILE");
  const table = folder.write("t.csv", 'image,caption\na.png,"one, ""two"""\nno.png,x\n');
  const { clean: ofTable } = await checkData(table, { fix: true });
  assert.is(readFileSync(ofTable as string, "utf8"), `${JSON.stringify({ image: "a.png", caption: 'one, "two"' })}\n`);
  const shard = folder.write("s.tar", readFileSync(join(caseFolder("sources"), "shard-gnu.tar")));
  const report = await checkData(shard, { fix: true });
  assert.equal([report.clean, existsSync(join(folder.path, "s.clean.jsonl"))], [undefined, false]);
  assert.match(
    report.problems.at(-1)?.message as string,
    /rows that name their media, to write them anew, got row 1 with the bytes themselves/,
  );
});

test("a published data set is looked at through its reader, and its good rows are written as rows", async () => {
  for (const name of ["a.wav", "b.wav"]) folder.write(name, "bytes");
  const head = "audiocap_id,youtube_id,start_time,caption\n";
  const path = folder.write("train.csv", `${head}1,a,130,one\n2,gone,0,two\n3,b,7.5,three\n`);
  const report = await checkData(path, { as: "audiocaps", fix: true });
  assert.equal([report.rows, report.bad, report.layouts, report.media.audio], [2, 1, { captions: 2 }, 2]);
  assert.equal(
    report.problems.map(({ row, column }) => [row, column]),
    [[3, "audio"]],
  );
  const rows = await readRows(report.clean as string, { prompts: [""] });
  assert.equal(
    rows.map(({ turns }) => [turns[0]?.content.map((part) => typeof part !== "string" && part.options), turns[1]?.content[0]]),
    [
      [[{ start: 130, seconds: 10 }], "one"],
      [[{ start: 7.5, seconds: 10 }], "three"],
    ],
  );
  const { problems } = await checkData(path, { as: "coco-captions" });
  assert.match(problems[0]?.message as string, /expected COCO's captions_/);
  assert.is(problems[0]?.row, undefined);
  await rejects(checkData(path, { as: "clothes" as "clotho" }), ({ message }) => /as: expected one of clotho/.test(message));
});

test("a file of no use is one problem without a row; media that do not decode are found where they are asked for", async () => {
  for (const [name, text, message] of [
    ["a.csv", "image,words\na.png,x\n", /a row of captions, which has caption or text too/],
    ["b.jsonl", "", /an empty file/],
    ["c.tar", "no archive", /a whole tar archive/],
    ["d.parquet", "no parquet here", /a whole Parquet file/],
  ] as const) {
    const { problems, rows, bad } = await checkData(folder.write(name, text));
    assert.equal([rows, bad, problems.length, problems[0]?.row], [0, 0, 1, undefined], name);
    assert.match(problems[0]?.message as string, message);
  }
  const path = folder.write("rows.jsonl", lines(ROWS[0]));
  assert.is((await checkData(path)).bad, 0);
  const { problems } = await checkData(path, { decode: true });
  assert.match(problems[0]?.message as string, /rows\.jsonl:1: .*a\.png/);
  await rejects(checkData(path, { decod: true } as object), (error) => (error.code as string) === "E_VALUE");
});

test("with a tokenizer: positions of text and of media, rows that will be cut, rows that cannot be learned from", async () => {
  const tokenizer = Tokenizer.fromPretrained(new Case(caseNames(/^tokenizer-llama/)[0] as string).folder);
  const rows = [
    { image: "a.png", caption: "short" },
    { image: "a.png", caption: "word ".repeat(40) },
    { image: "a.png", caption: "x" },
  ];
  const path = folder.write("rows.jsonl", lines(...rows));
  const options = { tokenizer, mediaLength: () => 16, prompts: ["What is it?"] };
  const lengths = (await readRows(path, { prompts: options.prompts })).map(({ turns }) =>
    promptLength(promptParts(tokenizer, turns), () => 0),
  );
  const report = await checkData(path, { ...options, maxLength: (lengths[0] as number) + 16 });
  assert.equal(report.tokens, { text: lengths.reduce((a, b) => a + b, 0), image: 48, video: 0, audio: 0, imu: 0 });
  assert.equal(report.longest, { where: `${path}:2`, length: (lengths[1] as number) + 16, unit: "positions" });
  assert.equal([report.cut, report.bad], [1, 0]);
  const { problems } = await checkData(path, { ...options, maxLength: 18 });
  assert.is(problems.length, 3);
  assert.match(problems[0]?.message as string, /rows\.jsonl:1: .*16 of them media; raise maxLength/);
});

test.run();
