// What a data file holds and what is wrong with it: counts, every problem, and with a tokenizer whether rows fit.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { checkFile, checkRows } from "../../lib/data/check.js";
import type { Row } from "../../lib/data/row.js";
import { promptLength } from "../../lib/text/fit-parts.js";
import { promptParts } from "../../lib/text/prompt.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames } from "../case.js";
import { Folder } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  for (const name of ["a.png", "c.wav"]) folder.write(name, "bytes");
});
test.after.each(() => folder.remove());
const lines = (...rows: unknown[]) => rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n");
const exchange = (question: string, answer: string) => [
  { from: "human", value: question },
  { from: "gpt", value: answer },
];

test("captions: counts, the longest, and every problem with its place", async () => {
  const rows = [
    { image: "a.png", caption: "one" },
    "{",
    { audio: "c.wav", text: "three words more" },
    { image: "no.png", caption: "x" },
    { image: "a.png" },
  ];
  const path = folder.write("rows.jsonl", lines(...rows));
  const summary = await checkFile(path, { prompts: ["What?"] });
  assert.is(summary.kind, "captions");
  assert.is(summary.rows, 2);
  assert.is(summary.exchanges, 2);
  assert.equal(summary.media, { image: 1, video: 0, audio: 1, imu: 0 });
  assert.equal(summary.longest, { where: `${path}:3`, length: "What?three words more".length, unit: "characters" });
  assert.is(summary.meanLength, (8 + 21) / 2);
  assert.equal(
    summary.problems.map(({ where }) => where),
    [2, 4, 5].map((row) => `${path}:${row}`),
  );
  assert.ok(summary.problems.every(({ where, message }) => message.startsWith(`${where}: expected `)));
});

test("conversations are told by their first row; a file of no use is a problem, not an exception", async () => {
  const path = folder.write(
    "rows.json",
    JSON.stringify([{ image: "a.png", conversations: [...exchange("<image>?", "a"), ...exchange("b", "c")] }]),
  );
  const { kind, rows, exchanges, media, problems } = await checkFile(path);
  assert.equal({ kind, rows, exchanges, problems }, { kind: "conversations", rows: 1, exchanges: 2, problems: [] });
  assert.is(media.image, 1);
  for (const [name, text, message] of [
    ["a.csv", "image,words\na.png,x\n", /a column caption or text/],
    ["a.jsonl", "", /an empty file/],
    ["a.json", "[{}", /cut off/],
  ] as const) {
    const summary = await checkFile(folder.write(name, text));
    assert.is(summary.rows, 0);
    assert.is(summary.problems.length, 1, name);
    assert.match(summary.problems[0]!.message, message);
  }
  const bad = await checkFile(folder.write("b.jsonl", lines({}, { image: 1, caption: "x" })));
  assert.equal([bad.rows, bad.problems.length], [0, 2], "each problem once");
  const missing = await checkFile(path.replace("rows", "none"));
  assert.match(missing.problems[0]!.message, /no such file/);
});

for (const name of caseNames(/^tokenizer-/)) {
  test(`${name}: lengths in positions, rows that will be cut, rows that cannot be learned from`, () => {
    const tokenizer = Tokenizer.fromPretrained(new Case(name).folder);
    const photo = { modality: "image", source: "a.png", options: {} } as const;
    const row = (where: string, question: string, answer: string): Row => ({
      where,
      turns: [
        { role: "user", content: [question, photo] },
        { role: "assistant", content: [answer] },
      ],
    });
    const [control] = tokenizer.specialTokens.keys();
    const rows = [
      row("r:1", "Short?", "yes"),
      row("r:2", "Short?", "word ".repeat(40)),
      row("r:3", "word ".repeat(40), "yes"),
      row("r:4", control!, "yes"),
    ];
    const length = (at: number) => promptLength(promptParts(tokenizer, rows[at]!.turns), () => 16);
    const summary = checkRows(rows, {
      tokenizer,
      mediaLength: ({ modality }) => (modality === "image" ? 16 : 0),
      maxLength: length(0) + 5,
    });
    assert.is(summary.rows, 2);
    assert.is(summary.cut, 1);
    assert.equal(summary.longest, { where: "r:2", length: length(1), unit: "positions" });
    assert.is(summary.meanLength, (length(0) + length(1)) / 2);
    assert.equal(
      summary.problems.map(({ where }) => where),
      ["r:3", "r:4"],
    );
    assert.match(summary.problems[0]!.message, /^r:3: .*16 of them media; raise maxLength/);
    assert.match(summary.problems[1]!.message, /^r:4: .*control token/);
  });
}

test.run();
