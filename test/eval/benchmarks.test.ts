// The scores of published benchmarks against their own tools: VQA, TextVQA, MME, POPE, ScienceQA, ROC-AUC.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { parseMme, scoreMme } from "../../lib/eval/mme.js";
import { parsePope, scorePope } from "../../lib/eval/pope.js";
import { averagePrecision, rocAuc } from "../../lib/eval/roc-auc.js";
import { choiceIndex, parseChoice, scoreChoices } from "../../lib/eval/science-qa.js";
import { normalizeTextVqa, normalizeVqa, scoreVqa, textVqaAccuracy, vqaAccuracy } from "../../lib/eval/vqa.js";
import { Case, near } from "../case.js";

const percent = (share: number) => Math.round(share * 1e4) / 100;

test("VQA: normalised answers", () => {
  for (const { text, normalised, evalai } of new Case("metric_vqa").info.normalisation) {
    assert.is(normalizeVqa(text), normalised, JSON.stringify(text));
    assert.is(normalizeTextVqa(text), evalai, `TextVQA: ${JSON.stringify(text)}`);
  }
});

test("VQA: accuracies", () => {
  const { questions, expected } = new Case("metric_vqa").info;
  for (const q of questions) {
    assert.is(percent(vqaAccuracy(q)), q.accuracy_percent, JSON.stringify(q));
    near([textVqaAccuracy(q)], [q.textvqa_score], 1e-9, JSON.stringify(q));
  }
  type Question = { prediction: string; answers: string[]; question_type: string; answer_type: string };
  const scores = scoreVqa((questions as Question[]).map((q) => ({ ...q, questionType: q.question_type, answerType: q.answer_type })));
  const inPercent = (shares: Record<string, number>) => Object.fromEntries(Object.entries(shares).map(([type, v]) => [type, percent(v)]));
  assert.is(percent(scores.overall), expected.overall);
  assert.equal(inPercent(scores.perQuestionType), expected.perQuestionType);
  assert.equal(inPercent(scores.perAnswerType), expected.perAnswerType);
});

test("MME", () => {
  const { parse, files, expected } = new Case("metric_mme").info;
  for (const { response, label } of parse) assert.is(parseMme(response), label, JSON.stringify(response));
  const results = Object.fromEntries(
    Object.entries(files as Record<string, string>).map(([file, text]) => [file.replace(".txt", ""), text]),
  );
  const { tasks, perception, cognition } = scoreMme(results);
  near([perception, cognition], [expected.totals.Perception, expected.totals.Cognition], 1e-9, "totals");
  assert.equal(Object.keys(tasks).sort(), Object.keys(expected.tasks).sort());
  for (const [task, t] of Object.entries(tasks)) {
    const want = expected.tasks[task];
    const got = [t.truePositives, t.falseNegatives, t.trueNegatives, t.falsePositives, t.precision, t.recall, t.other, t.accuracy];
    near(got, [want.TP, want.FN, want.TN, want.FP, want.precision, want.recall, want.other_num, want.acc], 1e-9, task);
    near([t.accuracyPlus, t.score], [want.acc_plus, want.score], 1e-9, task);
  }
  assert.throws(() => scoreMme({ count: "a.jpg\tq\tYes\tyes\nb.jpg\tq\tNo\tno\n" }), /two lines in a row for a.jpg/);
  assert.throws(() => scoreMme({ count: "a.jpg\tq\tperhaps\tyes\n" }), /line 1/);
});

test("POPE", () => {
  for (const { id, rows, expected } of new Case("metric_pope").info.subcases) {
    for (const { text, parsed } of rows) assert.is(parsePope(text), parsed, JSON.stringify(text));
    const s = scorePope(rows);
    const got = [s.truePositives, s.falsePositives, s.trueNegatives, s.falseNegatives, s.accuracy, s.precision, s.recall, s.f1, s.yesRatio];
    const { TP, FP, TN, FN, accuracy, precision, recall, f1, yes_ratio } = expected;
    near(got, [TP, FP, TN, FN, accuracy, precision, recall, f1, yes_ratio], 1e-12, id);
  }
});

test("ScienceQA", () => {
  const { questions, expected } = new Case("metric_scienceqa").info;
  for (const { text, n_choices, parsed, index } of questions) {
    assert.is(parseChoice(text) ?? "FAILED", parsed, JSON.stringify(text));
    assert.is(choiceIndex(text, n_choices), index, JSON.stringify(text));
  }
  type Question = { text: string | null; answer: number; n_choices: number; image: boolean };
  const score = scoreChoices((questions as Question[]).map((q) => ({ ...q, choices: q.n_choices })));
  assert.equal([score.right, score.count], [expected.correct, expected.count]);
  near([100 * score.accuracy], [expected.accuracy_percent], 1e-9, "accuracy");
  assert.is(percent(score.imageAccuracy!), expected.image_accuracy_percent_2_digits);
});

test("ROC-AUC and average precision", () => {
  for (const { id, labels, scores, roc_auc, average_precision } of new Case("metric_roc_auc").info.subcases) {
    near([rocAuc(labels, scores)], [roc_auc], 1e-12, id);
    near([averagePrecision(labels, scores)], [average_precision], 1e-12, id);
  }
  assert.throws(() => rocAuc([1, 1], [0, 1]), /items of both classes/);
  assert.throws(() => rocAuc([1, 0], [Number.NaN, 1]), /NaN/);
});

test.run();
