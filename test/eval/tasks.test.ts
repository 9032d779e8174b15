// Benchmarks from their raw files to numbers: the golden cases' questions as their publishers lay them out, the cases' answers as a model's, the published tools'
// numbers as what has to come out.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import type { Prediction, Predictions } from "../../lib/eval/run/predictions.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { EVAL_TASKS } from "../../lib/eval/tasks/index.js";
import { Case, near } from "../case.js";
import { coco, csv, type Layout, lines, Rote, saying, within } from "./layouts.js";

async function scores(
  task: string,
  { folder: data }: Layout,
  answers: readonly string[],
  options: object = {},
): Promise<Record<string, number>> {
  const report = await scorePredictions(await answerTask(saying(answers), task, { data, batch: 3, ...options }));
  return report.shown[0]!.metrics;
}
/** Answers as the published tools were given them, blanks around them too, which a model's are kept without. */
async function raw(task: string, { folder: data }: Layout, of: (line: Prediction) => string): Promise<Predictions> {
  const { head, lines } = await answerTask(new Rote(() => "x"), task, { data });
  return { head, lines: lines.map((line) => ({ ...line, answer: of(line) })) };
}
const percent = (share: number | undefined) => Math.round(share! * 1e4) / 100;

type Question = { prediction: string; answers: string[]; question_type: string; answer_type: string; textvqa_score: number };
const people = (): {
  questions: Question[];
  expected: { overall: number; perAnswerType: Record<string, number>; perQuestionType: Record<string, number> };
} => new Case("metric_vqa").info;
const given = (answers: readonly string[]) => answers.map((answer, i) => ({ answer, answer_id: i + 1, answer_confidence: "yes" }));

for (const [task, prefix] of [
  ["vqav2", "v2_"],
  ["okvqa", ""],
] as const)
  test(`${task}: VQA's tool`, () =>
    within(async (layout) => {
      const { questions, expected } = people();
      layout.media(...questions.map((_, i) => `val2014/${coco(i >> 1)}`)).write({
        [`${prefix}OpenEnded_mscoco_val2014_questions.json`]: {
          questions: questions.map((_, i) => ({ question_id: 1000 + i, image_id: i >> 1, question: `What is ${i}?` })),
        },
        // In another order: they are found by their number.
        [`${prefix}mscoco_val2014_annotations.json`]: {
          annotations: questions
            .map(({ answers, question_type, answer_type }, i) => ({
              question_id: 1000 + i,
              image_id: i >> 1,
              question_type,
              answer_type,
              answers: given(answers),
            }))
            .reverse(),
        },
      });
      const metrics = await scores(
        task,
        layout,
        questions.map(({ prediction }) => prediction),
      );
      assert.is(percent(metrics.accuracy), expected.overall);
      for (const [type, value] of Object.entries(expected.perAnswerType)) assert.is(percent(metrics[`answer type ${type}`]), value, type);
      for (const [type, value] of Object.entries(expected.perQuestionType))
        assert.is(percent(metrics[`question type ${type}`]), value, type);
    }));

test("textvqa: its own normalisation", () =>
  within(async (layout) => {
    const { questions } = people();
    const data = questions.map(({ answers }, i) => ({ question_id: i, image_id: `p${i}`, question: "What?", answers }));
    layout.media(...data.map(({ image_id }) => `train_images/${image_id}.jpg`)).write({ "TextVQA_0.5.1_val.json": { data } });
    const metrics = await scores(
      "textvqa",
      layout,
      questions.map(({ prediction }) => prediction),
    );
    near([metrics.accuracy!], [questions.reduce((sum, { textvqa_score }) => sum + textvqa_score, 0) / questions.length], 1e-9, "accuracy");
  }));

test("vizwiz: VQA's tool, types of answers", () =>
  within(async (layout) => {
    const { questions, expected } = people();
    const rows = questions.map(({ answers, answer_type }, i) => ({
      image: `VizWiz_val_${i}.jpg`,
      question: "What?",
      answers: given(answers),
      answer_type,
      answerable: 1,
    }));
    layout.media(...rows.map(({ image }) => `val/${image}`)).write({ "Annotations/val.json": rows });
    const metrics = await scores(
      "vizwiz",
      layout,
      questions.map(({ prediction }) => prediction),
    );
    assert.is(percent(metrics.accuracy), expected.overall);
    for (const [type, value] of Object.entries(expected.perAnswerType)) assert.is(percent(metrics[`answer type ${type}`]), value, type);
  }));

interface Captions {
  raw?: Record<string, { refs: string[]; hyp: string }>;
  expected: { bleu: number[]; rouge_l: number; cider_d: number; per_image: { ids: string[] } };
}
const captions = (): Captions[] => (new Case("metric_captions").info.subcases as Captions[]).filter(({ raw }) => raw);
const captionMetrics = (m: Record<string, number>) => [m.CIDEr!, m.ROUGE_L!, m.Bleu_1!, m.Bleu_2!, m.Bleu_3!, m.Bleu_4!];
const wanted = ({ expected: { cider_d, rouge_l, bleu } }: Captions) => [cider_d, rouge_l, ...bleu];

for (const [k, subcase] of captions().entries()) {
  const { raw = {}, expected } = subcase;
  const { ids } = expected.per_image;
  const said = ids.map((id) => raw[id]!.hyp);
  const check = async (task: string, layout: Layout, options: object = {}) =>
    near(captionMetrics(await scores(task, layout, said, options)), wanted(subcase), 1e-9, task);

  test(`captions ${k}: COCO by Karpathy's split and by the publishers' file, as coco-caption scores`, () =>
    within(async (layout) => {
      const images = ids.map((id, i) => ({
        cocoid: i + 1,
        filepath: "val2014",
        filename: coco(i + 1),
        split: "test",
        sentences: raw[id]!.refs.map((text) => ({ raw: text })),
      }));
      const train = { ...images[0], cocoid: 999, split: "train" };
      const annotations = ids.flatMap((id, i) => raw[id]!.refs.map((caption) => ({ image_id: i + 1, caption })));
      layout.media(...images.map(({ filename }) => `val2014/${filename}`)).write({
        "dataset_coco.json": { images: [train, ...images] },
        "annotations/captions_val2014.json": {
          images: images.map(({ cocoid, filename }) => ({ id: cocoid, file_name: filename })),
          annotations,
        },
      });
      await check("coco-captions", layout);
      await check("coco-captions", layout, { split: "all" });
      const json = said.map((text) => `Sure: ${JSON.stringify({ caption: text })} is it.`);
      near(captionMetrics(await scores("coco-captions", layout, json)), wanted(subcase), 1e-9, "captions in JSON");
    }));

  test(`captions ${k}: AudioCaps, a line a caption; motion in COCO's form; MM-IT's rows`, () =>
    within(async (layout) => {
      const rows = ids.flatMap((id, i) => raw[id]!.refs.map((caption, j) => [1000 * i + j, `yt-${i}`, 30, caption]));
      layout.write({ "test.csv": csv(["audiocap_id", "youtube_id", "start_time", "caption"], rows) });
      await check("audiocaps", layout.media(...ids.map((_, i) => `yt-${i}_30.wav`)));
      const images = ids.map((_, i) => ({ id: i, file_name: `${i}.npy`, video_uid: `u${i}`, window_start: 2.5, window_end: 7.5 }));
      const annotations = ids.flatMap((id, i) => raw[id]!.refs.map((caption) => ({ image_id: i, caption })));
      await check(
        "ego4d-imu",
        layout.media(...images.map(({ video_uid }) => `imu/${video_uid}.csv`)).write({ "imu_2000_cococap.json": { images, annotations } }),
      );
      const asked = ids.map((id, i) => ({ image: `${i}.png`, instruction: "Tell.", responses: raw[id]!.refs }));
      await check("mm-it", layout.media(...asked.map(({ image }) => image)).write({ "test.jsonl": lines(asked) }));
    }));
}

test("mme: its own tool's numbers, folders of both forms", () =>
  within(async (layout) => {
    const { files, expected } = new Case("metric_mme").info as {
      files: Record<string, string>;
      expected: { totals: Record<string, number>; tasks: Record<string, Record<string, number>> };
    };
    const answers = new Map<string, string>();
    for (const [k, [file, text]] of Object.entries(files).entries()) {
      const group = file.replace(".txt", "");
      const [texts, pictures] = k % 2 ? [`${group}/questions_answers_YN`, `${group}/images`] : [group, group];
      const rows = text
        .split("\n")
        .filter(Boolean)
        .map((line) => line.split("\t") as [string, string, string, string]);
      for (let i = 0; i < rows.length; i += 2) {
        const name = `${String(i).padStart(6, "0")}`;
        const pair = rows.slice(i, i + 2);
        layout.media(`${pictures}/${name}.jpg`).write({
          [`${texts}/${name}.txt`]: pair.map(([, question, label], j) => `${question} ${group} ${name} ${j}\t${label}`).join("\n"),
        });
        for (const [j, [, , , said]] of pair.entries()) answers.set(`${group} ${name} ${j}`, said);
      }
    }
    const { shown } = await scorePredictions(
      await raw(
        "mme",
        layout,
        ({ doc }) => answers.get(/\? Please answer yes or no\. (.*)$/.exec((doc as { question: string }).question)![1]!)!,
      ),
    );
    const { metrics } = shown[0]!;
    near([metrics.perception!, metrics.cognition!], [expected.totals.Perception!, expected.totals.Cognition!], 1e-9, "sums");
    for (const [task, { acc, acc_plus, score }] of Object.entries(expected.tasks))
      near([metrics[`${task} accuracy`]!, metrics[`${task} accuracy+`]!, metrics[task]!], [acc!, acc_plus!, score!], 1e-9, task);
  }));

test("pope: three files, as LLaVA's tool counts each", () =>
  within(async (layout) => {
    const names = ["random", "popular", "adversarial"];
    type Subcase = { rows: { text: string; label: string }[]; expected: Record<string, number> };
    const subcases = (new Case("metric_pope").info.subcases as Subcase[]).slice(0, names.length);
    for (const [k, { rows }] of subcases.entries())
      layout.media("val2014/a.jpg").write({
        [`coco/coco_pope_${names[k]}.json`]: lines(
          rows.map(({ label }, i) => ({ question_id: i, image: "a.jpg", text: "Is there a dog in the image?", label })),
        ),
      });
    const metrics = await scores(
      "pope",
      layout,
      subcases.flatMap(({ rows }) => rows.map(({ text }) => text)),
    );
    for (const [k, { expected }] of subcases.entries()) {
      const got = ["accuracy", "precision", "recall", "f1", "yes ratio"].map((name) => metrics[`${names[k]} ${name}`]!);
      const { accuracy, precision, recall, f1, yes_ratio } = expected;
      near(got, [accuracy!, precision!, recall!, f1!, yes_ratio!], 1e-12, names[k]!);
    }
  }));

test("scienceqa-img: of the problems with a picture, as LLaVA's tool counts", () =>
  within(async (layout) => {
    type Science = { text: string | null; n_choices: number; answer: number; image: boolean; index: number };
    const questions = (new Case("metric_scienceqa").info.questions as Science[]).filter(({ text }) => text !== null);
    const problems = Object.fromEntries(
      questions.map(({ n_choices, answer, image }, i) => [
        String(i + 1),
        {
          question: "Which?",
          choices: Array.from({ length: n_choices }, (_, c) => `choice ${c}`),
          answer,
          hint: "",
          subject: i % 2 ? "natural science" : "language science",
          split: "test",
          image: image ? "image.png" : null,
        },
      ]),
    );
    const pictured = questions.flatMap((question, i) => (question.image ? [{ ...question, id: i + 1 }] : []));
    layout
      .media(...pictured.map(({ id }) => `images/test/${id}/image.png`))
      .write({ "problems.json": problems, "pid_splits.json": { test: Object.keys(problems), val: [] } });
    const by = new Map(pictured.map((question) => [String(question.id), question]));
    const { shown } = await scorePredictions(await raw("scienceqa-img", layout, ({ id }) => by.get(id)!.text as string));
    const right = pictured.map(({ index, answer }) => Number(index === answer));
    assert.equal(shown[0]!.items.accuracy, right);
    near([shown[0]!.metrics.accuracy!], [right.reduce((a, b) => a + b, 0) / right.length], 1e-12, "accuracy");
  }));

test("every task says what it is and where its data lie", () => {
  for (const [name, task] of EVAL_TASKS) {
    assert.is(task.name, name);
    for (const text of [task.about, task.source, task.layout, task.conventions.anymal.source]) assert.ok(text.length > 8, name);
  }
});

test.run();
