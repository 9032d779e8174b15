// ScienceQA's questions that have a picture.
import { isObject } from "../../core/checks.js";
import { choiceIndex } from "../science-qa.js";
import type { Fields } from "./folder.js";
import { type ChoiceDoc, choiceProblem, choiceScores, choiceTarget, lettered, letterOf } from "./scorers.js";
import { type EvalTask, MEDIA, TEXT, TEXTS } from "./task.js";

interface ScienceDoc extends ChoiceDoc {
  hint: string;
  subject: string;
}

export const scienceQaImg: EvalTask<ScienceDoc> = {
  name: "scienceqa-img",
  about: "school questions with a picture and choices: share of right letters",
  source: "ScienceQA, arXiv 2209.09513",
  layout: "problems.json, pid_splits.json (both may lie in data/scienceqa/), pictures as images/test/ID/image.png or test/ID/image.png",
  modality: "image",
  splits: ["test", "val", "minitest", "minival", "train"],
  doc: {
    question: TEXT,
    choices: TEXTS,
    answer: { wanted: "a choice's place", fits: (v) => Number.isInteger(v) },
    hint: TEXT,
    subject: TEXT,
  },
  problem: choiceProblem,
  async *read(folder, split) {
    const [problemsAt, splitsAt] = [
      folder.file("problems.json", "data/scienceqa/problems.json"),
      folder.file("pid_splits.json", "data/scienceqa/pid_splits.json"),
    ];
    const [problems, splits] = [await folder.json(problemsAt), await folder.json(splitsAt)];
    const ids = isObject(splits) && Array.isArray(splits[split]) ? (splits[split] as unknown[]) : [];
    for (const [i, id] of ids.entries()) {
      const one = isObject(problems) ? problems[String(id)] : undefined;
      if (!isObject(one)) {
        yield folder.bad(splitsAt, i + 1, `a problem ${id} in problems.json`, "none");
        continue;
      }
      const { image, question, choices, answer, hint, subject }: Fields = one;
      if (typeof image !== "string" || !image) continue;
      const own = one.split ?? split;
      const doc = { question, choices, answer, hint: hint ?? "", subject: subject ?? "" } as ScienceDoc;
      yield {
        id: String(id),
        media: [{ modality: "image", places: [`images/${own}/${id}/${image}`, `${own}/${id}/${image}`, `images/${id}/${image}`] }],
        doc,
        target: Array.isArray(choices) ? choiceTarget(doc) : "",
        kind: doc.subject,
      };
    }
  },
  conventions: {
    anymal: {
      source: "AnyMAL, arXiv 2309.16058, appendix B.1; letters read as LLaVA reads them",
      ask: ({ hint, question, choices }) => ({
        system: ["You are a multimodal assistant. Answer questions with choices by a single letter. Here is the image: ", MEDIA],
        user: [
          `${hint && `${hint}\n`}Question: ${question}\nOptions: ${lettered(choices, "()").join(" ")}\nReply with the letter of the right option alone.`,
        ],
      }),
      maxNewTokens: 16,
      score: (answers) => choiceScores(answers, (answer, { choices }) => choiceIndex(answer, choices.length), subjectOf),
    },
    "lmms-eval": {
      source: "lmms-eval scienceqa_img",
      ask: ({ hint, question, choices }) => ({
        user: [
          MEDIA,
          `${hint && `Context: ${hint}\n`}${question}\n${lettered(choices).join("\n")}\nAnswer with the option's letter from the given choices directly.`,
        ],
      }),
      maxNewTokens: 16,
      score: (answers) => choiceScores(answers, letterFirst, subjectOf),
    },
    vlmevalkit: {
      source: "VLMEvalKit ScienceQA, matched without a judge",
      ask: ({ hint, question, choices }) => ({
        user: [
          MEDIA,
          `${hint && `Hint: ${hint}\n`}Question: ${question}\nOptions:\n${lettered(choices).join("\n")}\nPlease select the correct answer from the options above. \n`,
        ],
      }),
      maxNewTokens: 128,
      score: (answers) => choiceScores(answers, inferred, subjectOf),
    },
  },
  hub: { id: "lmms-lab-encoder/ScienceQA", task: "scienceqa_img" },
};

const subjectOf = ({ subject }: ScienceDoc): string | undefined => subject || undefined;
const indexOf = (letter: string, { choices }: Pick<ChoiceDoc, "choices">): number => {
  const index = letter.toUpperCase().charCodeAt(0) - 65;
  return index >= 0 && index < choices.length ? index : -1;
};

/** The letter alone, in either case, or a capital before a period. */
export function letterFirst(answer: string, doc: Pick<ChoiceDoc, "choices">): number {
  const said = answer.trim();
  if (said.length === 1) return indexOf(said, doc);
  return /^\p{Lu}\./u.test(said) ? indexOf(said.slice(0, 1), doc) : -1;
}

/** The one option's letter that stands as a word among the last four, or "answer is B"; else the one option whose text occurs. */
export function inferred(answer: string, { choices }: Pick<ChoiceDoc, "choices">): number {
  const letters = choices.map((_, i) => letterOf(i));
  const words = answer
    .replace(/[.()[\],:;!*#{}]/g, " ")
    .split(/\s+/)
    .filter(Boolean);
  const said = letters.filter((letter) => words.includes(letter));
  if (said.length === 1 && words.indexOf(said[0] as string) > words.length - 5) return letters.indexOf(said[0] as string);
  if (!said.length && words.includes("Z")) return -1;
  const [, told = ""] = /(?:correct\s+)?answer\s+is\s+\**([ABCD])\**/i.exec(answer) ?? [];
  if (told && letters.includes(told.toUpperCase())) return letters.indexOf(told.toUpperCase());
  const lower = answer.toLowerCase();
  if (lower.length > 2 * choices.reduce((n, choice) => n + choice.length, 0)) return -1;
  const inside = choices.flatMap((choice, i) => (lower.includes(choice.toLowerCase()) ? [i] : []));
  return inside.length === 1 ? (inside[0] as number) : -1;
}
