// A sheet for judges that tells nobody whose answers are whose, and verdicts as numbers.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { encodeWav } from "../../lib/data/world/encode.js";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import { type JudgeKey, pairsOf } from "../../lib/judges/pairs.js";
import { writeJudgeSheet } from "../../lib/judges/sheet.js";
import { readKey, readVerdicts, scoreVerdicts, shareOf, type Verdict } from "../../lib/judges/verdicts.js";
import { near } from "../case.js";
import { inProcess } from "../cli/program.js";
import { csv, type Layout, lines, Rote, within } from "../eval/layouts.js";

const rows = Array.from({ length: 12 }, (_, n) => ({ image: `${n}.png`, instruction: `Tell of ${n}.`, response: `people say ${n}` }));
async function answered(layout: Layout) {
  layout.media(...rows.map(({ image }) => image)).write({ "test.jsonl": lines(rows) });
  const of = (name: string) =>
    answerTask(new Rote((_, n) => `<${name}> says ${n}`), "mm-it", { data: layout.folder, name, output: layout.path(name) });
  return [await of("secret-one"), await of("secret-two")] as const;
}

test("pairs: the key says whose answer stands where, half of them on each side, the same for the same seed", () =>
  within(async (layout) => {
    const [a, b] = await answered(layout);
    const { pairs, key } = pairsOf(a, b, { seed: 3 });
    assert.is(pairs.length, rows.length);
    for (const { id, left, right, question } of pairs) {
      const n = Number(id) - 1;
      const own = key.sides[id] === "left" ? [left, right] : [right, left];
      assert.equal(own, [`<secret-one> says ${n}`, `<secret-two> says ${n}`]);
      assert.is(question, `Tell of ${n}.`);
    }
    const onLeft = Object.values(key.sides).filter((side) => side === "left").length;
    assert.ok(onLeft > 1 && onLeft < rows.length - 1, `${onLeft}`);
    assert.equal(pairsOf(a, b, { seed: 3 }), { pairs, key });
    assert.not.equal(pairsOf(a, b, { seed: 4 }).key.sides, key.sides);
    const people = pairsOf(a, undefined, { count: 5 });
    assert.equal([people.pairs.length, people.key.b], [5, "people"]);
    assert.ok(people.pairs.every(({ id, left, right }) => [left, right].includes(`people say ${Number(id) - 1}`)));
    assert.throws(() => pairsOf(a, { head: { ...b.head, task: "pope" }, lines: b.lines }), /answers to mm-it twice/);
    assert.throws(
      () => pairsOf(a, { head: b.head, lines: b.lines.map((line) => ({ ...line, doc: {} })) }),
      /questions that both have answered/,
    );
  }));

test("the page holds both answers as text, no name of a model, and runs no script but its own", () =>
  within(async (layout) => {
    await answered(layout);
    const [a, b] = ["secret-one", "secret-two"].map((name) => layout.path(`${name}/predictions.jsonl`)) as [string, string];
    const { value } = await inProcess(["judge", a, b, "--output", layout.path("sheet"), "--count", "4", "--json"]);
    const { sheet, key, pairs } = value[0] as { sheet: string; key: string; pairs: number };
    assert.is(pairs, 4);
    const page = readFileSync(sheet, "utf8");
    assert.is(page.match(/<section /g)!.length, 4);
    assert.match(page, /&#60;secret-one&#62; says \d+/); // answers are text, and these name themselves
    assert.not.match(page.replace(/&#60;secret-\w+&#62;/g, ""), /secret/);
    const [, script] = /<script>(.*)<\/script>/s.exec(page)!;
    const [, policy] = /script-src 'sha256-([^']+)'/.exec(page)!;
    assert.is(policy, createHash("sha256").update(script!).digest("base64"));
    const { sheet: id } = await readKey(key);
    assert.ok(page.includes(`data-sheet="${id}"`));
    assert.throws(() => new Function(`${script}(`)); // what follows does not hold for just any text
    new Function(script!);
  }));

test("sounds can be heard", () =>
  within(async (layout) => {
    layout.write({ "test.csv": csv(["audiocap_id", "youtube_id", "start_time", "caption"], [[1, "y", 0, "a tone"]]) });
    writeFileSync(layout.path("y_0.wav"), encodeWav({ samples: new Float32Array(800).fill(0.5), sampleRate: 8000 }));
    const predictions = await answerTask(new Rote(() => "a sound"), "audiocaps", { data: layout.folder });
    const { sheet } = await writeJudgeSheet(predictions, undefined, layout.path("sheet"), { data: layout.folder });
    assert.match(readFileSync(sheet, "utf8"), /<audio controls src="data:audio\/wav;base64,UklGR[\w+/=]+">/);
  }));

const ids = ["p", "q", "r", "s"];
const key: JudgeKey = {
  anymalJudges: 1,
  sheet: "abc",
  task: "mm-it",
  a: "one",
  b: "two",
  sides: { p: "left", q: "right", r: "left", s: "right" },
};
const verdicts = (judge: string, all: Record<string, Verdict>) => ({ sheet: "abc", judge, verdicts: all });

test("verdicts: wins by the key, several judges as their mean, the rubric for each side", () => {
  const ann = verdicts("ann", {
    p: { better: "left", left: { recognition: 2, accuracy: 2 }, right: { recognition: 1 } },
    q: { better: "left", left: { recognition: 2, integrity: 2 }, right: { recognition: 0, integrity: 0 } },
    r: { better: "tie" },
  });
  const bo = verdicts("bo", { p: { better: "right" }, q: { better: "left" } });
  const report = scoreVerdicts(key, [ann, bo]);
  near([report.win.share, report.tie.share, report.lose.share], [0.5 / 3, 1 / 3, 1.5 / 3], 1e-12, "rates");
  assert.equal([report.pairs, report.of, report.judges], [3, ids.length, ["ann", "bo"]]);
  near([report.agreement!], [1 / 2], 1e-12, "agreement");
  const { recognition, accuracy, integrity } = report.rubric;
  near(
    [recognition.a!.share, recognition.b!.share, accuracy.a!.share, integrity.a!.share, integrity.b!.share],
    [1 / 2, 3 / 4, 1, 0, 1],
    1e-12,
    "rubric",
  );
  assert.is(accuracy.b, undefined);
  assert.is(scoreVerdicts(key, [ann]).agreement, undefined);
  assert.throws(() => scoreVerdicts(key, [{ ...ann, sheet: "xyz" }]), /those of sheet abc, got xyz/);
  assert.throws(() => scoreVerdicts(key, [verdicts("c", { z: { better: "tie" } })]), /pairs of the sheet, got z/);
  assert.throws(() => scoreVerdicts(key, [verdicts("c", {})]), /at least one pair that is judged/);
});

test("an interval's ends are the shares from which what was seen lies just so far", () => {
  for (const [right, of] of [
    [7, 10],
    [0, 10],
    [10, 10],
    [41, 97],
    [1, 1],
  ] as const) {
    const { share, low, high } = shareOf(Array.from({ length: of }, (_, i) => Number(i < right)));
    near([share], [right / of], 1e-15, "share");
    assert.ok(low <= share && share <= high);
    for (const end of [low, high].filter((one) => one > 1e-12 && one < 1 - 1e-12))
      near([Math.abs(share - end) / Math.sqrt((end * (1 - end)) / of)], [1.959963984540054], 1e-9, `${right} of ${of}`);
  }
});

test("files: the command counts them, and says what is wrong with others", () =>
  within(async (layout) => {
    layout.write({
      "key.json": key,
      "a.json": verdicts("ann", { p: { better: "left", left: { recognition: 2 } } }),
      "b.json": verdicts("bo", { p: { better: "best" as "left" } }),
      "c.json": "{",
      "middle.json": { ...key, sides: { p: "middle" } },
    });
    await readKey(layout.path("middle.json")).then(
      () => assert.unreachable("a key of other sides"),
      (error: Error) => assert.match(error.message, /p: "middle"/),
    );
    const { value } = await inProcess(["judge", "--verdicts", layout.path("a.json"), "--key", layout.path("key.json"), "--json"]);
    assert.is((value[0] as { win: { share: number } }).win.share, 1);
    for (const [name, message] of [
      ["b.json", /p: \{"better":"best"\}/],
      ["c.json", /no an object in it|expected verdicts/],
      ["key.json", /verdicts as the sheet saves them/],
    ] as const)
      await readVerdicts(layout.path(name)).then(
        () => assert.unreachable(name),
        (error: Error) => assert.match(error.message, message),
      );
    assert.match((await inProcess(["judge", "--verdicts", layout.path("a.json")])).error!.message, /--key is needed/);
    assert.match((await inProcess(["judge", "x"])).error!.message, /--output are needed/);
  }));

test.run();
