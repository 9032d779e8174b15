// Rules by which answers are read and media exchanged, case by case.

import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { FoundItem } from "../../lib/eval/run/items.js";
import { writeResults } from "../../lib/eval/run/results.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { mediaShown } from "../../lib/eval/run/shown.js";
import { evalTask } from "../../lib/eval/tasks/index.js";
import { namedChoice } from "../../lib/eval/tasks/scorers.js";
import type { EvalTask, TaskAnswer } from "../../lib/eval/tasks/task.js";
import { within } from "./layouts.js";

const test = suite("rules of evaluations");

test("a choice is named by its text, its letter, or its words in an answer; what could be several is none", () => {
  const named = (answer: string, ...choices: string[]) => namedChoice(answer, { choices });
  assert.is(named("Blue.", "red", "blue"), 1);
  assert.is(named("(B) because", "red", "blue"), 1);
  assert.is(named("B", "red", "blue"), 1);
  assert.is(named("B: blue", "red", "blue"), 1);
  assert.is(named("Because it is blue", "red", "blue"), 1);
  assert.is(named("it is a red ball", "red", "a red ball"), 1);
  assert.is(named("red or blue", "red", "blue"), -1);
  assert.is(named("C", "red", "blue"), -1);
  assert.is(named("red", "red", "red"), -1);
  assert.is(named("bored", "red", "blue"), -1);
  assert.is(named("", "red", ""), 1, "the whole answer is that text");
});

const answer = (text: string, doc: object): TaskAnswer => ({ answer: text, doc }) as TaskAnswer;

test("MME counts pictures of two answers alone, and says how many answers it did not count", () => {
  const doc = (picture: string, label: string) => ({ question: "q", label, group: "color", picture });
  const both = [answer("yes", doc("a", "yes")), answer("no", doc("a", "no"))];
  const { score } = evalTask("mme").conventions.anymal;
  const whole = score(both).metrics;
  assert.equal([whole.color, whole["color accuracy"]], [200, 1]);
  const more = score([...both, answer("no", doc("b", "yes"))]);
  assert.equal([more.metrics.color, more.metrics["color accuracy"]], [200, 1]);
  assert.match(more.notes!.join(), /1 answers do not count/);
});

test("VLMEvalKit's rule takes the one of yes and no that stands there, and neither where both do", () => {
  const { score } = evalTask("pope").conventions.vlmevalkit!;
  const doc = { question: "q", label: "yes", group: "random", picture: "p" };
  const read = (text: string) => score([answer(text, doc)]).parsed[0];
  assert.equal(["Yes, it is.", "no", "yes or no", "yesterday"].map(read), ["yes", "no", "other", "other"]); // biome-ignore format: one line
});

test("wrong media have other answers whatever the seed, shuffled ones stay within their kind", () => {
  const items = Array.from({ length: 6 }, (_, n) => ({
    ...{ id: String(n), doc: {}, target: n % 2 ? "odd" : "even", kind: n < 2 ? "first" : "others" },
    media: [{ modality: "image", path: `${n}.png` }],
  })) as unknown as FoundItem[];
  const from = (shown: "wrong" | "shuffled", seed: number) => mediaShown(items, shown, seed).map(([medium]) => Number.parseInt(medium!.path, 10)); // biome-ignore format: one line
  for (let seed = 0; seed < 20; ++seed) {
    for (const [i, other] of from("wrong", seed).entries()) assert.is.not(other % 2, i % 2);
    for (const [i, other] of from("shuffled", seed).entries()) assert.ok(other !== i && other < 2 === i < 2);
  }
});

test("a metric of which less is better is told so", () =>
  within(async (layout) => {
    const convention = {
      source: "nobody",
      ask: () => ({ user: ["?"] }),
      maxNewTokens: 1,
      score: (answers: readonly TaskAnswer[]) => ({ metrics: { errors: 3, right: 1 }, items: {}, parsed: answers.map(() => "") }),
    };
    const task: EvalTask = {
      ...{ name: "own", about: "", source: "", layout: "", modality: "image", doc: {}, read: async function* () {} },
      ...{ conventions: { anymal: convention }, lowerIsBetter: ["errors"] },
    };
    const head = { anymalEval: 1, task: "own", prompts: "anymal", split: "", model: "m", shown: ["own"], seed: 0, maxNewTokens: 1, questions: 1, leftOut: 0, data: "", date: "2026-01-02T03:04:05" } as const; // biome-ignore format: one line
    const line = { doc_id: 0, id: "0", shown: "own", doc: {}, target: "", input: "", input_media: [], answer: "x" } as const;
    const report = await scorePredictions({ head: { ...head, shown: ["own"] }, lines: [line] }, { tasks: [task] });
    const { results } = await writeResults(report, layout.folder);
    const written = JSON.parse(readFileSync(results, "utf8"));
    assert.equal(written.higher_is_better.own, { errors: false, right: true });
    assert.equal(written.configs.own.metric_list.map((one: { higher_is_better: boolean }) => one.higher_is_better), [false, true]); // biome-ignore format: one line
  }));

test("predictions that lack what their score needs are no predictions", () =>
  within(async (layout) => {
    const head = { anymalEval: 1, task: "pope", prompts: "anymal", split: "", model: "m", shown: ["own"], seed: 0, maxNewTokens: 1, questions: 1, leftOut: 0, data: "", date: "x" }; // biome-ignore format: one line
    const doc = { question: "q", label: "yes", group: "random", picture: "p" };
    const line = { doc_id: 0, id: "0", shown: "own", doc, target: "yes", input: "", input_media: [], answer: "yes" };
    const path = layout.path("predictions.jsonl");
    const scored = (first: object, second: object) => {
      layout.write({ "predictions.jsonl": [first, second].map((one) => JSON.stringify(one)).join("\n") });
      return scorePredictions(path);
    };
    assert.is((await scored(head, line)).shown[0]!.metrics.accuracy, 1);
    for (const [first, second, word] of [
      [{ ...head, seed: "0" }, line, "seed"],
      [{ ...head, data: undefined }, line, "data"],
      [{ ...head, shown: ["mine"] }, line, "shown"],
      [head, { ...line, target: undefined }, "target"],
      [head, { ...line, input_media: ["x"] }, "input_media"],
      [head, { ...line, problem: 3 }, "problem"],
      [head, { ...line, doc: { ...doc, label: "maybe" } }, "label"],
    ] as const)
      await scored(first, second).then(
        () => assert.unreachable(word),
        (error: Error) => assert.match(error.message, word),
      );
  }));

test.run();
