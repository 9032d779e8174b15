// Curation on small files: what is a copy, what does not fit its picture, what is mended, what people have said.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readRows } from "../../lib/data/any-layout.js";
import { writeWorld } from "../../lib/data/world/write.js";
import { image, loadImage, type Pixels } from "../../lib/media/image.js";
import { differenceHash, hashDistance, NearHashes } from "../../lib/media/perceptual-hash.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { ClipScorer, scoreFilter } from "../../lib/train/curation/clip-score.js";
import { curate } from "../../lib/train/curation/curate.js";
import { duplicates } from "../../lib/train/curation/duplicates.js";
import { editPictures } from "../../lib/train/curation/pictures.js";
import { REPAIR_INSTRUCTION, readRules, repairBy, repairRules } from "../../lib/train/curation/repair.js";
import { asJudged, CurationSheet, digestOf, readVerdicts } from "../../lib/train/curation/sheet.js";
import { here } from "../case.js";
import { Folder, rejects } from "../data/files.js";

const test = suite("curation");
let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

/** A picture of smooth patches, so that it stays itself in other sizes and packings. */
const patches = (seed: number, side: number): Pixels => {
  const data = new Uint8Array(side * side * 3);
  for (let y = 0; y < side; ++y)
    for (let x = 0; x < side; ++x)
      for (let c = 0; c < 3; ++c)
        data[3 * (y * side + x) + c] =
          128 + 100 * Math.sin((seed + 2) * ((3 * x) / side) + c) * Math.cos(((seed + 1) * 4 * y) / side + seed);
  return { data, width: side, height: side };
};
const file = ({ data, width, height }: Pixels) => sharp(data, { raw: { width, height, channels: 3 } });
const rowsIn = (path: string) =>
  readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const said = (row: Record<string, unknown> | undefined, list: string, key: string) =>
  (row?.[list] as Record<string, string>[] | undefined)?.map((turn) => turn[key]);
const written = (rows: readonly object[], name = "rows.jsonl") => folder.write(name, rows.map((row) => JSON.stringify(row)).join("\n"));

test("hashes: the sign of each step to the right; near where pictures are copies, far where they are not", async () => {
  const ramp = (up: boolean): Pixels => {
    const data = Uint8Array.from({ length: 18 * 16 * 3 }, (_, i) => (up ? 1 : -1) * (Math.floor(i / 3) % 18) * 10 + (up ? 20 : 220));
    return { data, width: 18, height: 16 };
  };
  assert.is(await differenceHash(ramp(true)), 2n ** 64n - 1n);
  assert.is(await differenceHash(ramp(false)), 0n);
  const [one, other] = [patches(3, 96), patches(8, 96)];
  const jpeg = await loadImage(image(await file(one).resize(64, 64).jpeg({ quality: 70 }).toBuffer()));
  const hash = await differenceHash(one);
  assert.ok(hashDistance(hash, await differenceHash(jpeg)) <= 4);
  assert.ok(hashDistance(hash, await differenceHash(other)) > 10);
  assert.is(hashDistance(0b1011n, 0b0110n), 3);
});

test("near hashes: the first within the distance, whichever bits differ", () => {
  for (const distance of [0, 3, 10]) {
    const near = new NearHashes(distance);
    const base = 0x0123456789abcdefn;
    assert.equal([near.numberOf(base), near.numberOf(~base & (2n ** 64n - 1n))], [0, 1]);
    for (let seed = 0; seed < 50; ++seed) {
      const places = Array.from({ length: 64 }, (_, i) => [(i * 37 + seed * 11) % 64, i] as const).sort(([a], [b]) => a - b);
      const flipped = (n: number) => places.slice(0, n).reduce((h, [, bit]) => h ^ (1n << BigInt(bit)), base);
      assert.is(near.numberOf(flipped(distance)), 0, `${distance} bits`);
    }
    assert.is(near.numberOf(base ^ (2n ** BigInt(distance + 1) - 1n)), 2);
  }
});

test("duplicates by bytes, by looks, by media alone; clips of one film are none", async () => {
  const [one, other] = [patches(3, 96), patches(8, 96)];
  folder.write("a.png", await file(one).png().toBuffer());
  folder.write("copy.png", await file(one).png().toBuffer());
  folder.write("small.jpg", await file(one).resize(64, 64).jpeg().toBuffer());
  folder.write("b.png", await file(other).png().toBuffer());
  folder.write("f.mp4", "a film");
  const row = (image: string, caption: string) => ({ image, caption });
  const film = (start: number) => ({ video: { path: "f.mp4", start, seconds: 2 }, caption: "x" });
  const rows = [
    row("a.png", "One."),
    row("copy.png", "one. "),
    row("small.jpg", "One."),
    row("b.png", "One."),
    row("a.png", "Two."),
    film(0),
    film(2),
    film(0),
    { question: "q", answer: "One." },
    { question: "r", answer: "One." },
    { question: "q", answer: "One." },
  ];
  const kept = async (options: Parameters<typeof duplicates>[0], name: string) => {
    const path = written(rows, name);
    const { output, kept: count } = await curate(path, { steps: [duplicates(options)] });
    const left = rowsIn(output).map((fields) => rows.findIndex((one) => JSON.stringify(one) === JSON.stringify(fields)));
    assert.is(left.length, count);
    return left;
  };
  assert.equal(await kept({}, "1.jsonl"), [0, 2, 3, 4, 5, 6, 8, 9]);
  assert.equal(await kept({ distance: 4 }, "2.jsonl"), [0, 3, 4, 5, 6, 8, 9]);
  assert.equal(await kept({ by: "media", distance: 4 }, "3.jsonl"), [0, 3, 5, 6, 8, 9, 8]);
  assert.throws(() => duplicates({ distance: 40 }), /distance: expected an integer from 0 to 16/);
});

test("texts that fit their pictures score higher, in batches as alone; what scores less goes", async () => {
  const clip = fileURLToPath(new URL("../../models/tiny/clip", import.meta.url));
  const words = Tokenizer.fromPretrained(fileURLToPath(new URL("../../models/tiny/llama", import.meta.url)));
  await writeWorld(join(folder.path, "world"), { seed: 3, train: { image: 8 }, heldout: {} });
  const path = join(folder.path, "world/image/captions.train.jsonl");
  assert.ok(existsSync(path), "the world's captions");
  const rows = await readRows(path);
  const pictures = rows.map(({ turns }) => turns[0]?.content.find((part) => typeof part !== "string") as ReturnType<typeof image>);
  const texts = rows.map(({ turns }) => String(turns[1]?.content[0]));
  using scorer = ClipScorer.fromPretrained(clip, { device: here, tokens: (text) => [...words.encode(text), 688] });
  const own = await scorer.scores(pictures, texts);
  const others = await scorer.scores(pictures, [...texts.slice(1), texts[0] as string]);
  const mean = (all: readonly number[]) => all.reduce((a, b) => a + b, 0) / all.length;
  assert.ok(mean(own) > mean(others) + 0.1, `${own} beside ${others}`);
  assert.ok(own.every((score) => score >= -1 && score <= 1));
  const [alone] = await scorer.scores([pictures[2] as ReturnType<typeof image>], [texts[2] as string]);
  assert.ok(Math.abs((alone as number) - (own[2] as number)) < 1e-4);
  const sorted = [...own].sort((a, b) => a - b);
  const least = ((sorted[2] as number) + (sorted[3] as number)) / 2;
  const told = new Map<number, number>();
  const { kept, steps } = await curate(path, { steps: [scoreFilter(scorer, { least, onScore: (n, score) => told.set(n, score) })] });
  assert.is(kept, own.length - 3);
  assert.is(Object.values(steps[0]?.dropped ?? {})[0], 3);
  assert.ok([...told.values()].every((score, i) => Math.abs(score - (own[i] as number)) < 1e-4));
});

const TALK = {
  conversations: [
    { from: "human", value: "What ###?" },
    { from: "gpt", value: "A ring. ### Human: more" },
    { from: "human", value: "And?" },
    { from: "gpt", value: "A  bell." },
  ],
};
const ROWS = [
  TALK,
  {
    messages: [
      { role: "user", content: "Hi ###" },
      { role: "assistant", content: "### Hello" },
    ],
  },
  { question: "q", answer: "As an AI model, no." },
  { instruction: "Say", output: "### " },
  { question: "q", answer: "Fine." },
];

test("rules mend answers alone, in each layout, and drop what they say", async () => {
  const rules = await readRules(
    folder.write(
      "rules.json",
      JSON.stringify([
        { pattern: "\\s*###( Human:.*)?\\s*" },
        { pattern: " +", replace: " " },
        { pattern: "as an ai", flags: "i", drop: "speaks of itself" },
      ]),
    ),
  );
  const report = await curate(written(ROWS), { steps: [repairRules(rules)] });
  assert.equal(report.steps, [
    { name: "rules", changed: 2, dropped: { "speaks of itself": 1, "an answer of which the rules left nothing": 1 } },
  ]);
  const [talk, messages, plain] = rowsIn(report.output);
  assert.equal(said(talk, "conversations", "value"), ["What ###?", "A ring.", "And?", "A bell."]);
  assert.equal(said(messages, "messages", "content"), ["Hi ###", "Hello"]);
  assert.equal(plain, ROWS[4]);
  for (const [text, words] of [
    ["{", /expected JSON/],
    ['[{"pattern": "("}]', /rule 1 as a regular expression/],
    ['[{"patern": "x"}]', /rule 1 of pattern, flags, replace, drop, got patern/],
    ["[{}]", /rule 1 with a pattern/],
  ] as const)
    await rejects(readRules(folder.write("wrong.json", text)), ({ message }) => words.test(message));
});

test("a model is asked about each answer, and one without words leaves it", async () => {
  const asked: string[] = [];
  const model = {
    async generateAll(prompts: readonly unknown[]) {
      asked.push(...(prompts as string[]));
      return prompts.map((prompt) => (String(prompt).endsWith("Fine.") ? " " : `mended ${asked.indexOf(String(prompt))}`));
    },
  };
  const report = await curate(written([TALK, ROWS[4] as object]), { steps: [repairBy(model)] });
  assert.equal(asked, ["A ring. ### Human: more", "A  bell.", "Fine."].map((text) => `${REPAIR_INSTRUCTION}\n\n${text}`)); // biome-ignore format: one line
  const [talk, plain] = rowsIn(report.output);
  assert.equal(said(talk, "conversations", "value"), ["What ###?", "mended 0", "And?", "mended 1"]);
  assert.equal([plain, report.steps[0]?.changed], [ROWS[4], 1]);
});

test("pictures go through a function: what it gives is written and named, what it refuses goes", async () => {
  for (const [i, name] of ["a.png", "b.png", "c.png"].entries()) folder.write(name, await file(patches(i, 16)).png().toBuffer());
  const talk = (images: unknown, n: number) => ({
    ...{ images },
    conversations: [
      { from: "human", value: `${"<image>".repeat(n)}?` },
      { from: "gpt", value: "x" },
    ],
  });
  const within = {
    messages: [
      { role: "user", content: [{ type: "image_url", image_url: { url: "a.png" } }] },
      { role: "assistant", content: "x" },
    ],
  };
  const rows = [
    talk(["a.png", "b.png"], 2),
    { image: { path: "a.png", profile: "ignore" }, caption: "x" },
    { image: "c.png", caption: "x" },
    within,
  ];
  const sums = await Promise.all(["a.png", "c.png"].map(async (name) => (await loadImage(image(join(folder.path, name)))).data.join()));
  const black = ({ data, width, height }: Pixels) => ({ data: new Uint8Array(data.length), width, height });
  const edit = (picture: Pixels) => (picture.data.join() === sums[1] ? null : picture.data.join() === sums[0] ? black(picture) : undefined);
  const report = await curate(written(rows), { steps: [editPictures(edit, { name: "faces", folder: "blurred" })] });
  const [two, own] = rowsIn(report.output) as [{ images: string[] }, { image: { path: string } }];
  assert.match(two.images[0] as string, /^blurred\/[0-9a-f]{24}\.png$/);
  assert.equal([two.images[1], own.image, report.kept], ["b.png", { profile: "ignore", path: two.images[0] as string }, 2]);
  assert.ok((await loadImage(image(join(folder.path, own.image.path)))).data.every((v) => v === 0));
  assert.equal(report.steps[0]?.dropped, { "a picture that faces refused": 1, "pictures within a message, which cannot be exchanged": 1 });
  assert.is((await readRows(report.output)).length, 2);
});

test("a sheet holds each row, and runs nothing of theirs; what is rejected there goes, whichever file it lies in", async () => {
  folder.write("a.png", await file(patches(1, 16)).png().toBuffer());
  const rows: Record<string, string>[] = [
    { image: "a.png", caption: "<script>alert(1)</script>" },
    { image: "a.png", caption: "kept" },
  ];
  const sheet = new CurationSheet();
  const source = written(rows, "a <script> b.jsonl");
  const { output } = await curate(source, { steps: [], onKept: (item) => sheet.add(item) });
  const page = join(folder.path, "sheet.html");
  await sheet.write(page, output);
  const html = readFileSync(page, "utf8");
  assert.is(html.match(/<script/g)?.length, 1);
  assert.is(html.match(/<\/script/g)?.length, 1);
  assert.match(html, /script-src 'sha256-[\w+/=]+'/);
  assert.not.match(html, /src="(?!data:)/);
  for (const fields of rows) assert.ok(html.includes(`data-digest="${digestOf(fields)}"`), JSON.stringify(fields));
  assert.match(html, /data:image\/webp;base64/);
  const saved = { file: "x", verdicts: [{ row: 1, digest: digestOf(rows[0] ?? {}), keep: false, note: "no" }] };
  const verdicts = await readVerdicts(folder.write("v.json", JSON.stringify(saved)));
  const again = await curate(written([...rows].reverse(), "other.jsonl"), { steps: [asJudged(verdicts)] });
  assert.equal(rowsIn(again.output), [rows[1]]);
  await rejects(readVerdicts(folder.write("w.json", "[1]")), ({ message }) => /what a sheet has saved.*got no verdicts/.test(message));
});

test("bad rows are told, and nothing is left behind by what fails", async () => {
  const path = written([
    { image: "no.png", caption: "x" },
    { question: "q", answer: "a" },
  ]);
  const told: string[] = [];
  const { rows, bad, kept, output } = await curate(path, { steps: [duplicates()], onProblem: ({ message }) => told.push(message) });
  assert.equal([rows, bad, kept, told.length], [2, 1, 1, 1]);
  assert.match(told[0] as string, /rows\.jsonl:1: expected the image file/);
  await rejects(curate(path, { steps: [] }), (error) => (error.code as string) === "E_FILE");
  const { rmSync } = await import("node:fs");
  rmSync(output);
  await rejects(curate(path, { steps: [{ name: "wrong", look: async () => [] }] }), ({ message }) =>
    /step wrong: expected a verdict for each of 1/.test(message),
  );
  assert.not.ok(existsSync(output));
  await rejects(curate(folder.write("a.csv", "image,words\na.png,x\n"), { steps: [] }), (error) => (error.code as string) === "E_DATA");
});

test.run();
