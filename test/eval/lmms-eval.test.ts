// Our result and sample files, read by lmms-eval's own loader of baselines. Only where a Python has the package: ANYMAL_PYTHON names one.
import { execFileSync } from "node:child_process";
import { dirname } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { answerTask } from "../../lib/eval/run/evaluate.js";
import { writeResults } from "../../lib/eval/run/results.js";
import { scorePredictions } from "../../lib/eval/run/scoring.js";
import { lines, saying, within } from "./layouts.js";

const python = process.env.ANYMAL_PYTHON ?? "python3";
const READ = `
import json, sys
from lmms_eval.baselines.loader import load_baseline
scores, results = load_baseline(sys.argv[1], "pope")
print(json.dumps([scores, results["results"]["pope"]]))`;
const has = (() => {
  try {
    execFileSync(python, ["-c", "import lmms_eval.baselines.loader"], { stdio: "ignore", timeout: 60_000 });
    return true;
  } catch {
    return false;
  }
})();

(has ? test : test.skip)("lmms-eval's loader finds each answer's score, and the results beside it", () =>
  within(async (layout) => {
    const labels = ["yes", "no", "no", "yes"];
    layout
      .media("val2014/a.jpg")
      .write({ "coco_pope_random.json": lines(labels.map((label, i) => ({ question_id: i, image: "a.jpg", text: "a dog?", label }))) });
    const report = await scorePredictions(
      await answerTask(saying(["yes", "yes", "no", "no"]), "pope", { data: layout.folder, name: "org/m" }),
    );
    const { samples } = await writeResults(report, layout.path("out"));
    const [scores, results] = JSON.parse(
      execFileSync(python, ["-c", READ, samples[0]!], { cwd: dirname(samples[0]!), encoding: "utf8" })
        .trim()
        .split("\n")
        .at(-1)!,
    );
    assert.equal(scores, { 0: 1, 1: 0, 2: 1, 3: 0 });
    assert.is(results["accuracy,none"], 0.5);
  }),
);

test.run();
