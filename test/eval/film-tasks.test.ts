// Questions about films with choices, from their raw files; and how choices and yes or no are read out of answers by the rules of several tools.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { captionIn } from "../../lib/eval/tasks/coco-captions.js";
import { shareOfYes } from "../../lib/eval/tasks/hateful-memes.js";
import { mostGiven } from "../../lib/eval/tasks/people.js";
import { inferred, letterFirst } from "../../lib/eval/tasks/science-qa.js";
import { namedChoice } from "../../lib/eval/tasks/scorers.js";
import { mmmuChoice } from "../../lib/eval/tasks/video-qa.js";
import { normalizeVlmEvalKit } from "../../lib/eval/vqa.js";
import { near } from "../case.js";
import { csv, type Layout, Rote, within } from "./layouts.js";

const CHOICES = ["the red ball", "a blue cup", "the ball", "nothing"];

/** Answers a question with choices right or wrong, as its number says, and tells how it was asked. */
async function metrics(task: string, layout: Layout, right: (id: string) => boolean, options: object = {}) {
  const model = new Rote(() => "x");
  const { head, lines } = await answerTask(model, task, { data: layout.folder, ...options });
  const answered = lines.map((line) => {
    const { choices, answer } = line.doc as { choices: string[]; answer: number };
    return { ...line, answer: right(line.id) ? `${choices[answer]}.` : (choices[(answer + 1) % choices.length] as string) };
  });
  const { shown } = await scorePredictions({ head, lines: answered });
  return { lines, asked: model.asked, metrics: shown[0]!.metrics };
}

test("star: windows of films, the mean of four types", () =>
  within(async (layout) => {
    const types = ["Interaction", "Interaction", "Interaction", "Sequence", "Sequence", "Prediction", "Feasibility"];
    const rows = types.map((type, i) => ({
      ...{ question_id: `${type}_T1_${i}`, question: "Which object was taken?", video_id: `V${i >> 1}`, start: 1.5 + i, end: 4 + i },
      // Not in the order of their numbers.
      ...{ answer: CHOICES[i % 4], choices: CHOICES.map((choice, n) => ({ choice_id: n, choice })).reverse() },
    }));
    layout.media(...rows.map(({ video_id }) => `Charades_v1_480/${video_id}.mp4`)).write({ "STAR_val.json": rows });
    const wrong = ["Interaction_T1_0", "Sequence_T1_3", "Prediction_T1_5"];
    const { lines, asked, metrics: m } = await metrics("star", layout, (id) => !wrong.includes(id));
    near(
      [m["mean of types"]!, m.accuracy!, m.Interaction!, m.Sequence!, m.Prediction!, m.Feasibility!],
      [(2 / 3 + 1 / 2 + 0 + 1) / 4, 4 / 7, 2 / 3, 1 / 2, 0, 1],
      1e-12,
      "star",
    );
    assert.equal(lines[3]!.input_media, [
      { modality: "video", path: join("Charades_v1_480", "V1.mp4"), options: { start: 4.5, seconds: 2.5 } },
    ]);
    assert.match(asked[0]!, /Which object was taken\? Choose exactly one of \[the red ball, a blue cup, the ball, nothing\]\./);
  }));

test("how2qa: the raw table without a header, whose first answer is always right, and VALUE's form", () =>
  within(async (layout) => {
    const rows = Array.from({ length: 24 }, (_, i) => [
      `vid${i}_60_90`,
      "[3.5:10]",
      `w1 ${i}`,
      `w2 ${i}`,
      `w3 ${i}`,
      `What, ${i}?`,
      `right ${i}`,
    ]);
    layout.media(...rows.map(([id]) => `videos/${id}.mp4`));
    const [first, ...rest] = rows as [string[], ...string[][]];
    layout.write({ "how2QA_val_release.csv": csv(first, rest) });
    const { lines, metrics: m } = await metrics("how2qa", layout, (id) => Number(id) % 3 > 0);
    near([m.accuracy!], [16 / 24], 1e-12, "accuracy");
    const docs = lines.map(({ doc }) => doc as { choices: string[]; answer: number });
    assert.ok(docs.every(({ choices, answer }, i) => choices[answer] === `right ${i}`));
    assert.ok(new Set(docs.map(({ answer }) => answer)).size === 4, "the right one stands everywhere");
    assert.equal(lines[0]!.input_media[0]!.options, { start: 3.5, seconds: 6.5 });
    const again = await answerTask(new Rote(() => "x"), "how2qa", { data: layout.folder, seed: 5 });
    assert.equal(
      again.lines.map(({ doc }) => doc),
      docs,
      "in the same places each time",
    );
    layout.write({
      "how2qa_val_release.jsonl": rows
        .map(([vid_name, , ...a], i) =>
          JSON.stringify({ qid: i, vid_name, ts: "0.5-2.25", q: a[3], a0: a[0], a1: a[1], a2: a[2], a3: a[4], answer_idx: 3 }),
        )
        .join("\n"),
    });
    const value = await metrics("how2qa", layout, () => true);
    assert.is(value.metrics.accuracy, 1);
    assert.equal(value.lines[0]!.input_media[0]!.options, { start: 0.5, seconds: 1.75 });
  }));

test("nextqa: films by the map, accuracy by kind, lmms-eval's prompt and rule", () =>
  within(async (layout) => {
    const types = ["CW", "CH", "TN", "TC", "TP", "DO", "DL", "DC"];
    const names = ["video", "frame_count", "width", "height", "question", "answer", "qid", "type", "a0", "a1", "a2", "a3", "a4"];
    const rows = types.map((type, i) => [4000 + i, 900, 640, 480, `why, ${i}`, i % 5, i, type, "aa", "bb", "cc", "dd", "ee"]);
    layout.media(...rows.map(([video]) => `NExTVideo/11/${video}.mp4`));
    layout.write({
      "val.csv": csv(names, rows),
      "map_vid_vidorID.json": Object.fromEntries(rows.map(([video]) => [video, `11/${video}`])),
    });
    const { lines, metrics: m } = await metrics("nextqa", layout, (id) => !/_[036]$/.test(id));
    near([m.accuracy!, m.causal!, m.temporal!, m.descriptive!], [5 / 8, 1 / 2, 2 / 3, 2 / 3], 1e-12, "nextqa");
    assert.is(lines[0]!.input_media[0]!.path, join("NExTVideo", "11", "4000.mp4"));
    const model = new Rote((asked) => (asked.includes("why, 2") ? "The answer is (C)" : "E."));
    const { shown } = await scorePredictions(await answerTask(model, "nextqa", { data: layout.folder, prompts: "lmms-eval" }));
    assert.match(model.asked[1]!, />why, 1\nA\. aa\nB\. bb\nC\. cc\nD\. dd\nE\. ee$/);
    near([shown[0]!.metrics.accuracy!], [2 / 8], 1e-12, "by letters");
  }));

test("a right answer that is none of the choices is a wrong question", () =>
  within(async (layout) => {
    const row = {
      question_id: "Sequence_T1_1",
      question: "q",
      video_id: "V",
      start: 0,
      end: 1,
      answer: "a door",
      choices: [{ choice_id: 0, choice: "a" }],
    };
    layout.media("Charades_v1_480/V.mp4").write({ "STAR_val.json": [row] });
    try {
      await answerTask(new Rote(() => "x"), "star", { data: layout.folder });
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, /Sequence_T1_1: expected answer to be/);
    }
    assert.ok(readFileSync(layout.path("STAR_val.json")).length);
  }));

test("how choices are read out of answers", () => {
  const doc = { choices: CHOICES };
  const table: [answer: string, ours: number, lmms: number, vlm: number, mmmu: number][] = [
    ["B", 1, 1, 1, 1],
    ["b", -1, 1, -1, -1],
    ["B. a blue cup", 1, 1, 1, 1],
    ["(C)", 2, -1, 2, 2],
    ["The red ball!", 0, -1, 0, -1],
    ["It is the red ball on a table over there", 0, -1, 0, 0],
    ["it is a blue cup", 1, -1, 1, -1],
    ["a blue cup or nothing", -1, -1, -1, -1],
    ["The answer is D", -1, -1, 3, 3],
    ["A or B", -1, -1, -1, 1],
    ["E", -1, -1, -1, -1],
    ["", -1, -1, -1, -1],
  ];
  for (const [answer, ours, lmms, vlm, mmmu] of table)
    assert.equal(
      [namedChoice(answer, doc), letterFirst(answer, doc), inferred(answer, doc), mmmuChoice(answer, doc)],
      [ours, lmms, vlm, mmmu],
      JSON.stringify(answer),
    );
});

test("captions in JSON, probabilities, majorities, periods", () => {
  assert.is(captionIn('{"caption": "a \\"big\\" dog"}'), 'a "big" dog');
  assert.is(captionIn('```json\n{ "text" : "a dog" }\n```'), "a dog");
  assert.is(captionIn(" a dog {not json} "), "a dog {not json}");
  near([shareOfYes({ answer: "no", logProbabilities: [-1, -3] })], [Math.exp(-1) / (Math.exp(-1) + Math.exp(-3))], 1e-15, "share");
  assert.equal([shareOfYes({ answer: "Yes, it is" }), shareOfYes({ answer: "no" })], [1, 0]);
  assert.is(mostGiven(["a", "b", "b", "c"]), "b");
  assert.equal([normalizeVlmEvalKit("1.b c. The"), normalizeVlmEvalKit("two, dogs")], ["1.b c", "2 dogs"]);
});

test.run();
