// A run as a page: from what its folder holds, with nothing of a row that could run, and marks of SVG that a reader of XML takes.
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { Row } from "../../lib/data/row.js";
import { audio } from "../../lib/media/audio.js";
import { KINDS } from "../../lib/media/kinds/index.js";
import { envelope, means } from "../../lib/media/preview.js";
import { instruct } from "../../lib/train/instruct.js";
import { page } from "../../lib/train/report/page.js";
import { writeReport } from "../../lib/train/report/run-report.js";
import { chart, short, smoothed, sparkline, ticks } from "../../lib/train/report/svg.js";
import type { Look } from "../../lib/train/validation/judge.js";
import { blink, captions, shake, square, type Toy, toy } from "../anymal/toy.js";
import { all, rejection } from "./stages.js";

const test = suite("report");
let world: Toy;
test.before(async () => {
  world = await toy();
});
test.after(() => world.remove());

const EVIL = `<script>alert(1)</script>" onload='x' \u0000&amp;`;
const row = (where: string, ...content: Row["turns"][number]["content"]): Row => ({
  where,
  turns: [
    { role: "user", content },
    { role: "assistant", content: [EVIL] },
  ],
});

/** Each element that is opened is closed, in order; attributes are quoted. Of HTML, elements that close themselves. */
function wellFormed(markup: string): string[] {
  const open: string[] = [];
  const names: string[] = [];
  for (const [, end, name, rest] of markup.matchAll(/<(\/?)([a-z][a-z0-9]*)((?:\s+[\w-]+(?:="[^"<>]*")?)*\s*\/?)>/gi)) {
    if (end) assert.is(open.pop(), name);
    else {
      names.push(name!);
      if (!rest!.endsWith("/") && !/^(meta|img|link|br)$/.test(name!)) open.push(name!);
    }
  }
  assert.equal(open, []);
  assert.is(markup.match(/<(?!\/?[a-z!])/gi), null, "a bare <");
  return names;
}

test("a run makes its page, and the command makes it again from the folder alone", async () => {
  const output = world.path("run");
  using model = await AnyMAL.assemble(world.options());
  const held = [row("a", "see ", square("red"), EVIL), row("b", "clip ", blink("red", "blue")), row("c", "move ", shake(2))];
  const validation = { data: held, every: 1, maxNewTokens: 2 } as const;
  await all(instruct(model, { data: captions(), lora: false, steps: 2, batch: 2, output, reportTo: "html", validation }));
  const path = join(output, "report.html");
  const html = readFileSync(path, "utf8");
  const names = wellFormed(html);
  assert.not.ok(names.some((name) => ["script", "link", "iframe", "object"].includes(name)));
  assert.not.match(html, /\b(?:src|href)="(?!data:)/);
  assert.not.match(html, /url\(|@import|<script|onload='/);
  assert.match(html, /default-src 'none'/);
  assert.is(names.filter((name) => name === "img").length, 3, "a picture, and the clip's two frames");
  assert.is(names.filter((name) => name === "svg").length, 5 + 3 + 2, "curves, scores, and a recording's two");
  for (const word of ["before", "2 of 2", "acceleration", "held out", "recipe", "red"].slice(0, 5))
    assert.ok(html.toLowerCase().includes(word), word);
  assert.match(html, /&#60;script&#62;/);
  rmSync(path);
  assert.is(await writeReport(output), path);
  assert.is(readFileSync(path, "utf8"), html);
});

test("a page says which answers are right, in what step, and nothing of where the reader's files lie", () => {
  const look = (step: number, best: boolean, ...answers: string[]): Look => ({
    step,
    epoch: 0,
    scores: { exact: 0 },
    best,
    seconds: 0,
    answers,
  });
  const sample = (where: string) => ({ where, question: ["what?"], answer: "a ring" });
  const html = page({
    ...{ name: "run", recipe: "prompts: <b>", steps: [] },
    looks: [look(0, false, "", "a cross"), look(4, true, "a ring", "a cross"), look(8, false, "A ring.", "a star")],
    samples: [sample("/home/somebody/data/held.jsonl:3"), sample("C:\\data\\held.jsonl:4")],
  });
  wellFormed(html);
  assert.match(html, /prompts: &#60;b&#62;/);
  assert.not.match(html, /somebody|C:/);
  assert.match(html, /held\.jsonl:3.*held\.jsonl:4/s);
  const said = Array.from(html.matchAll(/<dt>([^<]+)<\/dt><dd class="(\w+)">([^<]*)<\/dd>/g), ([, ...one]) => one.join(": "));
  assert.equal(said, [
    ...["before: wrong: –", "step 4: right: a ring", "at last: right: A ring."],
    ...["before: wrong: a cross", "step 4: wrong: a cross", "at last: wrong: a star"],
  ]);
});

test("whatever stands in the folder, a page is made, and a folder without a run is told", async () => {
  const output = world.path("run");
  for (const [file, text] of [
    [
      "samples.json",
      '[{"question":["x",{"modality":"image","name":"<b>","pictures":["javascript:alert(1)","data:text/html,x"],"curves":[]}],"answer":"y","where":"w"}]',
    ],
    ["validation.jsonl", 'half\n{"step":0,"epoch":0,"scores":{"loss":null,"<i>":1},"answers":["<u>"]}\n{"step":"1"}\n[]\n'],
    ["log.jsonl", '{"step":1,"loss":null,"total_steps":2}\n{"step":2,"loss":1e400,"total_steps":2}\n7\n{"st'],
  ] as const) {
    writeFileSync(join(output, file), text);
    const html = readFileSync(await writeReport(output), "utf8");
    wellFormed(html);
    assert.not.match(html, /javascript:|text\/html|<b>&|<i>|<u>/);
  }
  rmSync(join(output, "log.jsonl"));
  assert.match(readFileSync(await writeReport(output), "utf8"), /No step has been logged/);
  assert.is((await rejection(() => writeReport(world.folder))).code, "E_FILE");
  assert.not.ok(existsSync(world.path("report.html")));
});

test("a sound is shown by its wave, and by a spectrogram that is bright where it is loud", async () => {
  const rate = 16_000;
  const tone = (hz: number) => Float32Array.from({ length: rate / 2 }, (_, i) => 0.5 * Math.sin((2 * Math.PI * hz * i) / rate));
  const brightest = async (hz: number) => {
    const { pictures, curves, seconds } = (await KINDS.audio.preview!(audio({ samples: tone(hz), sampleRate: rate }), {}))!;
    assert.is(seconds, 0.5);
    const [low, high] = curves![0]!.lines as [number[], number[]];
    assert.ok(Math.min(...low) < -0.49 && Math.max(...high) > 0.49);
    const { data, width, height } = pictures![0]!;
    const light = Array.from({ length: height }, (_, y) => data[3 * (y * width + (width >> 1))]!);
    return light.indexOf(Math.max(...light)) / height;
  };
  const [deep, high] = [await brightest(200), await brightest(4000)];
  assert.ok(deep > 0.75 && high < 0.35, `${deep} ${high}`);
});

test("numbers at the axes are round, and lines keep their peaks", () => {
  assert.equal(ticks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
  assert.equal(ticks(0.13, 0.34, 4), [0.15, 0.2, 0.25, 0.3]);
  assert.equal(ticks(-3, 7, 5), [-2, 0, 2, 4, 6]);
  for (const [value, text] of [
    [0, "0"],
    [12_345, "12.3k"],
    [3e6, "3M"],
    [1e-4, "1e-4"],
    [-0.000_25, "-2.5e-4"],
    [0.1 + 0.2, "0.3"],
  ] as const)
    assert.is(short(value), text);
  assert.equal(envelope([1, -2, 3, 0], 2), [
    [-2, 0],
    [1, 3],
  ]);
  assert.equal(means([1, 3, 5, 7], 2), [2, 6]);
  const points = Array.from({ length: 20_000 }, (_, i) => [i, i === 7777 ? 100 : 0] as const);
  const svg = chart([{ name: "loss", points }], "peaks");
  wellFormed(svg);
  const drawn = svg.match(/points="([^"]*)"/)![1]!.split(" ");
  assert.ok(drawn.length <= 500);
  assert.is(new Set(drawn.map((point) => point.split(",")[1])).size, 2, "the peak is there");
  assert.is(chart([{ name: "loss", points: [[1, Number.NaN]] }], "nothing"), "");
  wellFormed(chart([{ name: "one", points: [[5, 5]] }], "one point"));
  wellFormed(sparkline([[1], [2]], true, "one"));
  assert.equal(
    smoothed(
      [
        [1, 1],
        [2, 3],
      ],
      0.5,
    ),
    [
      [1, 1],
      [2, 3.5 / 1.5],
    ],
  );
});

test.run();
