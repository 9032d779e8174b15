// All tasks by their names.
import { nearest } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { audioCaps, ego4dImu, mmIt } from "./captions.js";
import { cocoCaptions } from "./coco-captions.js";
import { hatefulMemes } from "./hateful-memes.js";
import { okVqa, textVqa, vizWiz, vqaV2 } from "./people.js";
import { scienceQaImg } from "./science-qa.js";
import type { EvalTask } from "./task.js";
import { how2Qa, nextQa, star } from "./video-qa.js";
import { mme, pope } from "./yes-no.js";

const ALL: readonly EvalTask[] = [
  ...[cocoCaptions, mmIt, vqaV2, textVqa, okVqa, vizWiz, scienceQaImg, hatefulMemes],
  ...[audioCaps, star, how2Qa, nextQa, mme, pope, ego4dImu],
];
/** Evaluations that are here from the start, by name. */
export const EVAL_TASKS: ReadonlyMap<string, EvalTask> = new Map(ALL.map((task) => [task.name, task]));

/** Throws E_VALUE where there is none of that name. */
export function evalTask(name: string): EvalTask {
  const task = EVAL_TASKS.get(name);
  if (task) return task;
  const near = nearest(name, [...EVAL_TASKS.keys()]);
  const next = near ? `did you mean "${near}"?` : "anymal eval lists them";
  throw expected("E_VALUE", "evaluation", `one of ${[...EVAL_TASKS.keys()].join(", ")}`, `"${name}"`, next);
}
