// A benchmark of one's own, as a file: its rows asked and scored, another benchmark's files asked otherwise, what is wrong with a file said.
import { readFileSync, rmSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { readTaskFile } from "../../lib/eval/tasks/task-file.js";
import { coco, csv, type Layout, lines, saying, within } from "./layouts.js";

const test = suite("benchmarks as files");

const BIRDS = `
name: birds
about: which bird is it
source: our own photographs
modality: image
data:
  files: { val: val.csv, test: test.csv }
  id: number
  media: file
  folders: ["", pictures]
  kind: genus
  fields: { question: asked, answers: bird }
prompt:
  system: "You name birds. Here is one: <image>"
  user: "{{ question | trim }}{% if question[-1] != '?' %}?{% endif %} Answer in a word."
decoding: { maxNewTokens: 5 }
metric: exact
`;
const HEADER = ["number", "file", "genus", "asked", "bird"];
const birds = (layout: Layout) =>
  layout.media("a.png", "pictures/b.png", "pictures/c.png").write({
    "birds.yaml": BIRDS,
    "val.csv": csv(HEADER, [
      [7, "a.png", "tits", "which bird", "blue tit"],
      [8, "b.png", "tits", "which bird is <image>?", "great tit"],
      [9, "c.png", "owls", "who {{ 1 + 1 }}", "owl"],
    ]),
  });
const rejects = async (what: () => Promise<unknown>, message: RegExp) => {
  const error: Error & { code?: string } = await what().then(
    () => assert.unreachable(`nothing was wrong: ${message}`),
    (reason) => reason,
  );
  assert.match(error.message, message);
  assert.match(error.code!, /^E_(DATA|ROW)$/);
};

test("rows of a table, asked by its templates, scored in all and by kind; again from the answers' file alone", () =>
  within(async (layout) => {
    const task = await readTaskFile(birds(layout).path("birds.yaml"));
    const model = saying([" Blue Tit.", "a great tit", "owl"]);
    await answerTask(model, task, { data: layout.folder, output: layout.path("out") });
    assert.equal(
      model.asked.map((text) => text.replaceAll(`${layout.folder}/`, "")),
      [
        "system: You name birds. Here is one: <a.png>\nuser: which bird? Answer in a word.",
        "system: You name birds. Here is one: <pictures/b.png>\nuser: which bird is <image>? Answer in a word.",
        "system: You name birds. Here is one: <pictures/c.png>\nuser: who {{ 1 + 1 }}? Answer in a word.",
      ],
    );
    assert.is((model.options[0] as { maxNewTokens: number }).maxNewTokens, 5);
    for (const name of ["birds.yaml", "val.csv"]) rmSync(layout.path(name));
    const report = await scorePredictions(layout.path("out/predictions.jsonl"));
    assert.equal(report.shown[0]!.metrics, { exact: 2 / 3, tits: 0.5, owls: 1 });
    assert.equal(
      report.shown[0]!.lines.map(({ id, target }) => [id, target]),
      [
        ["7", "blue tit"],
        ["8", "great tit"],
        ["9", "owl"],
      ],
    );
  }));

const changed = (from: string, to: string) => (text: string) => {
  assert.ok(text.includes(from), from);
  return text.replace(from, to);
};
const CHOICES = [
  changed("files: { val: val.csv, test: test.csv }", "files: rows.jsonl"),
  changed("fields: { question: asked, answers: bird }", "fields: { choices: [a, b, c], answer: right }"),
  changed(`"{{ question | trim }}{% if question[-1] != '?' %}?{% endif %} Answer in a word."`, `"{{ choices | join(' or ') }}?"`),
  changed("metric: exact", "metric: choice\nparser: letter"),
].reduce((text, change) => change(text), BIRDS);
const row = (number: number, right: unknown, more: object = {}) => ({
  number,
  file: "a.png",
  genus: "g",
  a: "tit",
  b: "owl",
  c: "",
  right,
  ...more,
});

test("choices from columns; the right one by place, letter or text", () =>
  within(async (layout) => {
    layout.media("a.png").write({ "t.yaml": CHOICES, "rows.jsonl": lines([row(1, 1), row(2, "B"), row(3, "owl"), row(4, "0")]) });
    const model = saying(["B", "b", "owl", "A."]);
    const made = await answerTask(model, await readTaskFile(layout.path("t.yaml")), { data: layout.folder });
    assert.match(model.asked[0]!, /tit or owl\?$/);
    const { metrics, parsed } = (await scorePredictions(made)).shown[0]!;
    assert.is(metrics.accuracy, 0.75);
    assert.equal(parsed, ["B", "B", "", "A"]);
    layout.write({ "rows.jsonl": lines([row(1, "C")]) });
    await rejects(
      async () => answerTask(model, await readTaskFile(layout.path("t.yaml")), { data: layout.folder }),
      /expected the right one of 2 choices, got 2/,
    );
  }));

test("yes or no, by words and by probabilities", () =>
  within(async (layout) => {
    const [yesNo, auc] = ["yes-no", "roc-auc\n"].map((metric) =>
      [
        changed("fields: { choices: [a, b, c], answer: right }", "fields: { label: right }"),
        changed("{{ choices | join(' or ') }}", "is it"),
        changed("metric: choice\nparser: letter", `metric: ${metric}`),
      ].reduce((text, change) => change(text), CHOICES),
    );
    layout.media("a.png").write({ "t.yaml": yesNo, "rows.jsonl": lines([row(1, true), row(2, "No"), row(3, 1), row(4, "0")]) });
    const made = await answerTask(saying(["Yes, it is", "yes", "maybe", "no."]), await readTaskFile(layout.path("t.yaml")), {
      data: layout.folder,
    });
    const { metrics } = (await scorePredictions(made)).shown[0]!;
    assert.equal(
      [metrics.accuracy, metrics.precision, metrics.recall, metrics["yes ratio"], metrics["g accuracy"]],
      [0.5, 0.5, 0.5, 0.5, 0.5],
    );
    layout.write({ "t.yaml": auc });
    await rejects(() => readTaskFile(layout.path("t.yaml")), /decoding\.options: expected the answers whose probabilities/);
    layout.write({ "t.yaml": auc!.replace("maxNewTokens: 5", "options: [yes, no]") });
    const shares = [-1, -3, -0.5, -2];
    const model = Object.assign(saying(["yes", "no", "yes", "no"]), {
      scoreAnswers: async (prompts: readonly unknown[]) =>
        prompts.map((_, i) => [shares[i]!, -1.5].map((logProb) => ({ logProb, tokens: [], logProbs: [] }))),
    });
    const report = await scorePredictions(
      await answerTask(model as never, await readTaskFile(layout.path("t.yaml")), { data: layout.folder }),
    );
    assert.equal(report.shown[0]!.metrics, { "ROC-AUC": 1, accuracy: 1 });
    assert.equal(report.shown[0]!.notes, []);
    const inWords = await answerTask(saying(["yes", "no", "no", "no"]), await readTaskFile(layout.path("t.yaml")), { data: layout.folder });
    const { metrics: certain, notes } = (await scorePredictions(inWords)).shown[0]!;
    assert.equal([certain.accuracy, notes], [0.75, ["4 answers are words: they count as certain"]]);
  }));

/** BIRDS with other lines in the place of its own. */
const birdsWith = (...changes: readonly (readonly [from: string, to: string])[]) =>
  changes.reduce((text, [from, to]) => changed(from, to)(text), BIRDS);
const QUESTION = `"{{ question | trim }}{% if question[-1] != '?' %}?{% endif %} Answer in a word."`;
const ONE_FILE = ["files: { val: val.csv, test: test.csv }", "files: rows.jsonl"] as const;

test("several media, in columns or as a list, with a window; sixteen tokens where nothing is said", () =>
  within(async (layout) => {
    const yaml = birdsWith(
      ONE_FILE,
      ["modality: image", "modality: video"],
      ["<image>", "<video>"],
      ["media: file", "media: [a, b]\n  start: from\n  seconds: length"],
      ['folders: ["", pictures]', ""],
      ["decoding: { maxNewTokens: 5 }", ""],
    );
    const own = { number: 1, genus: "g", asked: "q", bird: "tit", a: "1.mp4", b: ["2.mp4", "3.mp4"], from: "1.5", length: 2 };
    layout.media("1.mp4", "2.mp4", "3.mp4").write({ "t.yaml": yaml, "rows.jsonl": lines([own]) });
    const model = saying(["tit"]);
    const { lines: made } = await answerTask(model, await readTaskFile(layout.path("t.yaml")), { data: layout.folder });
    const options = { start: 1.5, seconds: 2 };
    assert.equal(
      made[0]!.input_media,
      [1, 2, 3].map((n) => ({ modality: "video", path: `${n}.mp4`, options })),
    );
    assert.is((model.options[0] as { maxNewTokens: number }).maxNewTokens, 16);
  }));

const scored = async (layout: Layout, yaml: string, rows: readonly object[], answers: readonly string[]) => {
  layout.media("a.png").write({ "t.yaml": yaml, "rows.jsonl": lines(rows) });
  const made = await answerTask(saying(answers), await readTaskFile(layout.path("t.yaml")), { data: layout.folder });
  return (await scorePredictions(made)).shown[0]!;
};

test("parsers read what they are there for", () =>
  within(async (layout) => {
    const bird = { number: 1, file: "a.png", genus: "g", asked: "q", bird: "tit" };
    const exact = async (parser: string, answer: string) =>
      (await scored(layout, birdsWith(ONE_FILE, ["metric: exact", `metric: exact\nparser: ${parser}`]), [bird], [answer])).metrics.exact;
    assert.equal(
      [await exact("line", "tit\nor an owl"), await exact("whole", "tit\nor an owl"), await exact("json", '{"bird": "Tit"}')],
      [1, 0, 1],
    );
    const chosen = async (parser: string, answer: string) =>
      (await scored(layout, CHOICES.replace("parser: letter", `parser: ${parser}`), [row(1, 1)], [answer])).parsed[0];
    assert.equal(
      [
        await chosen("llava", "The answer is B."),
        await chosen("named", "it is an owl"),
        await chosen("mmmu", "I say (B)"),
        await chosen("vlmevalkit", "answer is B"),
      ],
      ["B", "B", "B", "B"],
    );
    // VQA v2's tool normalises where people disagree, TextVQA's always.
    const people = async (metric: string) =>
      (
        await scored(
          layout,
          birdsWith(ONE_FILE, ["metric: exact", `metric: ${metric}`]),
          [{ ...bird, bird: new Array(10).fill("a tit") }],
          ["the tit"],
        )
      ).metrics.accuracy;
    assert.equal([await people("vqa"), await people("textvqa")], [0, 1]);
  }));

test("fields stand in any order: choices are read before the answer among them", () =>
  within(async (layout) => {
    const turned = CHOICES.replace("{ choices: [a, b, c], answer: right }", "{ answer: right, choices: [a, b, c] }");
    assert.is((await scored(layout, turned, [row(1, "owl")], ["B"])).metrics.accuracy, 1);
  }));

test("a run does not go on with another prompt", () =>
  within(async (layout) => {
    birds(layout);
    const asked = async () =>
      answerTask(saying(["x", "x", "x"]), await readTaskFile(layout.path("birds.yaml")), {
        data: layout.folder,
        output: layout.path("out"),
      });
    await asked();
    layout.write({ "birds.yaml": birdsWith([QUESTION, '"{{ question }}"']) });
    await rejects(asked, /answers of this run, spec/);
  }));

test("the guide's own file is one", () =>
  within(async (layout) => {
    const [, yaml] = /```yaml\n(name: birds[\s\S]*?)```/.exec(
      readFileSync(new URL("../../docs/guides/evaluation.md", import.meta.url), "utf8"),
    )!;
    const task = await readTaskFile(layout.write({ "t.yaml": yaml }).path("t.yaml"));
    assert.equal([task.name, task.splits], ["birds", ["test", "val"]]);
  }));

test("another benchmark's files, asked and scored otherwise", () =>
  within(async (layout) => {
    layout.media(`val2014/${coco(1)}`).write({
      "OpenEnded_mscoco_val2014_questions.json": { questions: [{ question_id: 1, image_id: 1, question: "What is it?" }] },
      "mscoco_val2014_annotations.json": { annotations: [{ question_id: 1, answers: [{ answer: "dog" }, { answer: "Dog." }] }] },
      "t.yaml": `
name: okvqa-short
about: a
source: b
modality: image
data: { layout: okvqa }
prompt: { user: "<image>{{ question }} Be brief." }
metric: exact`,
    });
    const model = saying(["DOG"]);
    const report = await scorePredictions(await answerTask(model, await readTaskFile(layout.path("t.yaml")), { data: layout.folder }));
    assert.is(report.shown[0]!.metrics.exact, 1);
    assert.match(model.asked[0]!, /^user: <.*>What is it\? Be brief\.$/);
    const short = (modality: string, name: string, prompt: string, metric: string) =>
      `name: x\nabout: a\nsource: b\nmodality: ${modality}\ndata: { layout: ${name} }\nprompt: { user: "${prompt}" }\nmetric: ${metric}`;
    layout.write({ "t.yaml": short("audio", "okvqa", "<audio>", "vqa") });
    await rejects(() => readTaskFile(layout.path("t.yaml")), /modality: expected image, as okvqa has it, got audio/);
    layout.media("img/1.png").write({
      "dev_seen.jsonl": lines([{ id: 1, img: "img/1.png", label: 1, text: "t" }]),
      "t.yaml": short("image", "hateful-memes", "<image>{{ text }}", "yes-no"),
    });
    const memes = await answerTask(saying(["Yes"]), await readTaskFile(layout.path("t.yaml")), { data: layout.folder });
    assert.is((await scorePredictions(memes)).shown[0]!.metrics.recall, 1);
    layout.write({
      "t.yaml": "name: x\nabout: a\nsource: b\nmodality: image\ndata: { layout: okvqa }\nprompt: { user: <image> }\nmetric: captions",
    });
    await rejects(
      () => readTaskFile(layout.path("t.yaml")),
      /metric: expected a rule over what okvqa's questions hold, question, answers, got captions/,
    );
  }));

const WRONG: readonly [from: string, to: string, message: RegExp][] = [
  ["name: birds", "name: mme", /name: expected a name of small letters/],
  ["about: which bird is it", "", /about: expected a text, got nothing/],
  ["modality: image", "modality: picture", /modality: expected one of image, video, audio, imu, got "picture"/],
  ["metric: exact", "metrics: exact", /metrics: expected a key that is known, got one that is not; did you mean "metric"/],
  ["metric: exact", "metric: exact\nparser: letter", /parser: expected one of whole, line, json for exact, got "letter"/],
  ["media: file", "picture: file", /data\.picture: expected a key that is known/],
  ["answers: bird", "answer: bird", /data\.fields: expected columns of answers, got none of answers/],
  ["<image>", "<audio>", /prompt: expected <image> once, in system or user, got it 0 times/],
  [
    "{{ question | trim }}",
    "{{ question | }}",
    /prompt\.user: expected Jinja templates before and behind <image>, got one that does not parse/,
  ],
  ["maxNewTokens: 5", "maxNewTokens: 0", /decoding\.maxNewTokens: expected an integer from 1 to 65536, got 0/],
  ["name: birds", "name: [", /expected a benchmark as YAML, got text that does not parse/],
  ["name: birds", "name: birds\nname: owls", /the key name stands twice/],
];
for (const [from, to, message] of WRONG)
  test(`a file that is wrong: ${to || `no ${from}`}`.replaceAll("\n", " "), () =>
    within(async (layout) => {
      layout.write({ "birds.yaml": changed(from, to)(BIRDS) });
      await rejects(() => readTaskFile(layout.path("birds.yaml")), message);
    }),
  );

test("rows that cannot be asked: no such column, a picture elsewhere, no answer", () =>
  within(async (layout) => {
    birds(layout);
    const asked = async (header: readonly string[], rows: unknown[][]) => {
      layout.write({ "val.csv": csv(header, rows as string[][]) });
      return answerTask(saying(["x"]), await readTaskFile(layout.path("birds.yaml")), { data: layout.folder });
    };
    const good = [1, "a.png", "g", "q", "tit"];
    await rejects(
      () => asked(["number", "file", "genus", "asked", "birb"], [good]),
      /a column "bird", got columns number, file, genus, asked, birb/,
    );
    for (const path of ["../a.png", "pictures/../../a.png"])
      await rejects(() => asked(HEADER, [[1, path, "g", "q", "tit"]]), /its image in the data's folder/);
    layout.write({ "t.yaml": BIRDS.replace("{{ question | trim }}", "{{ nothing.there }}") });
    layout.write({ "val.csv": csv(HEADER, [good] as string[][]) });
    await rejects(
      async () => answerTask(saying(["x"]), await readTaskFile(layout.path("t.yaml")), { data: layout.folder }),
      /prompt\.user: expected a template that takes question, answers|expected a template that takes/,
    );
  }));

test.run();
