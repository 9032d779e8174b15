// `anymal curate`: steps as flags and as a module, a sheet, and its verdicts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { digestOf } from "../../lib/train/curation/sheet.js";
import { Folder } from "../data/files.js";
import { inProcess } from "./program.js";

const test = suite("anymal curate");
const folder = new Folder();
test.after(() => folder.remove());

const ROWS = [
  { question: "q", answer: "One ###" },
  { question: "q", answer: "One ###" },
  { question: "r", answer: "Two" },
  { question: "s", answer: "Three" },
];
const lines = (path: string) =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("steps in their order, then what people say of what is left", async () => {
  const path = folder.write("rows.jsonl", ROWS.map((row) => JSON.stringify(row)).join("\n"));
  const rules = folder.write("rules.json", '[{"pattern": " *###"}]');
  const module = folder.write(
    "own.mjs",
    'export const long = { name: "long", look: async (items) => items.map(({ fields }) => (fields.answer.length > 4 ? { drop: "too long" } : undefined)) };\nexport const other = 1;\n',
  );
  const sheet = join(folder.path, "look.html");
  const flags = ["--duplicates", "row", "--rules", rules, "--step", module, "--sheet", sheet, "--json"];
  const { value, error } = await inProcess(["curate", path, ...flags]);
  assert.not.ok(error, error?.message);
  const [report] = value as [{ output: string; kept: number; steps: object[]; sheet: string }];
  assert.equal(report.steps, [
    { name: "duplicates", changed: 0, dropped: { "the same media with the same answers as an earlier row": 1 } },
    { name: "rules", changed: 1, dropped: {} },
    { name: "long", changed: 0, dropped: { "too long": 1 } },
  ]);
  const left = [
    { question: "q", answer: "One" },
    { question: "r", answer: "Two" },
  ];
  assert.equal([report.kept, lines(report.output), report.sheet], [2, left, sheet]);
  const page = readFileSync(sheet, "utf8");
  for (const fields of left) assert.ok(page.includes(digestOf(fields)));
  const verdicts = folder.write(
    "v.json",
    JSON.stringify({ verdicts: [{ digest: digestOf({ question: "q", answer: "One" }), keep: false }] }),
  );
  const after = await inProcess(["curate", report.output, "--verdicts", verdicts, "--json"]);
  assert.equal(lines((after.value[0] as { output: string }).output), [left[1]]);
});

test("flags that need each other, and modules without a step", async () => {
  const told = async (...flags: string[]) => (await inProcess(["curate", "rows.jsonl", ...flags])).error?.message ?? "";
  assert.match(await told(), /which step\? Say --duplicates/);
  assert.match(await told("--clip", "x"), /--clip and --least-score go together/);
  assert.match(await told("--distance", "3"), /--distance needs --duplicates/);
  assert.match(await told("--repair"), /--repair needs --model or --llm/);
  assert.match(await told("--step", folder.write("none.mjs", "export const a = 1;\n")), /exports steps, \{ name, look \}.*it exports none/);
});

test.run();
