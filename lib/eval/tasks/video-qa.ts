// Questions about films with choices: STAR, How2QA, NExT-QA.
import { existsSync } from "node:fs";
import { is, isObject } from "../../core/checks.js";
import { Draw } from "../../data/draw.js";
import { DataError } from "../../data/row.js";
import { type ChoiceDoc, choiceProblem, choiceScores, choiceTarget, lettered, letterOf, namedChoice } from "./scorers.js";
import { type Convention, type EvalTask, type Item, MEDIA, meanOf, type TaskAnswer, type TaskScores, TEXT, TEXTS } from "./task.js";

interface FilmDoc extends ChoiceDoc {
  type: string;
}
const DOC = { question: TEXT, choices: TEXTS, answer: is.integer(), type: TEXT };
const FILMS = ["mp4", "webm", "mkv", "avi", "mov"];
const inFolders = (folders: readonly string[], name: string): string[] =>
  folders.flatMap((at) => FILMS.map((ending) => `${at}${name}.${ending}`));

const anymal = (score: Convention<FilmDoc>["score"]): Convention<FilmDoc> => ({
  source: "AnyMAL, arXiv 2309.16058, appendix B.1; an answer that names no choice, or several, is wrong",
  ask: ({ question, choices }) => ({
    system: ["You are a multimodal assistant. Here is the video: ", MEDIA],
    user: [`${question.trim()} Choose exactly one of [${choices.join(", ")}].`],
  }),
  maxNewTokens: 32,
  score,
});
const scores = (answers: readonly TaskAnswer<FilmDoc>[]): TaskScores => choiceScores(answers, namedChoice, ({ type }) => type || undefined);

function itemOf(id: string, doc: FilmDoc, places: string[], window?: { start: number; end: number }): Item<FilmDoc> {
  const options = window &&
    Number.isFinite(window.start + window.end) && { start: Math.max(0, window.start), seconds: window.end - window.start };
  const target = Array.isArray(doc.choices) && doc.choices[doc.answer] !== undefined ? choiceTarget(doc) : "";
  return { id, media: [{ modality: "video", places, ...(options && { options }) }], doc, target, ...(doc.type && { kind: doc.type }) };
}

export const star: EvalTask<FilmDoc> = {
  name: "star",
  about: "situated reasoning in films of everyday life, four types of question: mean of the types' accuracies",
  source: "STAR, arXiv 2405.09711",
  layout: "STAR_val.json (or STAR_test.json, STAR_train.json), films as Charades_v1_480/VIDEO_ID.mp4",
  modality: "video",
  splits: ["val", "test", "train"],
  doc: DOC,
  problem: choiceProblem,
  async *read(folder, split) {
    for await (const record of folder.records(folder.file(`STAR_${split}.json`))) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const { question_id: id, question, video_id: video, start, end, answer, choices: given } = record.fields;
      const all = (Array.isArray(given) ? given : []).filter(isObject).sort((a, b) => Number(a.choice_id) - Number(b.choice_id));
      const choices = all.map(({ choice }) => choice as string);
      const doc = {
        question: question as string,
        choices,
        answer: choices.indexOf(answer as string),
        type: String(id).split("_")[0] as string,
      };
      yield itemOf(String(id), doc, inFolders(["Charades_v1_480/", "videos/", ""], String(video)), {
        start: Number(start),
        end: Number(end),
      });
    }
  },
  conventions: {
    anymal: anymal((answers) => {
      const { metrics, ...rest } = scores(answers);
      const { accuracy: overall = 0, ...types } = metrics;
      return { ...rest, metrics: { "mean of types": meanOf(Object.values(types)), accuracy: overall, ...types } };
    }),
  },
};

/** Of the raw file, which has no header. */
const HOW2QA = ["vid_id", "timesteps", "a2", "a3", "a4", "question", "a1"];

export const how2Qa: EvalTask<FilmDoc> = {
  name: "how2qa",
  about: "what happens in clips of instructional films: accuracy",
  source: "How2QA, in HERO, arXiv 2005.00200",
  layout:
    "how2QA_val_release.csv (vid_id, timesteps, three wrong answers, question, the right one) or how2qa_val_release.jsonl (VALUE's form), clips as VID_ID.mp4, there or in videos/",
  modality: "video",
  doc: DOC,
  problem: choiceProblem,
  async *read(folder) {
    const path = folder.file("how2qa_val_release.jsonl", "how2QA_val_release.csv", "val.csv");
    const table = path.endsWith(".csv");
    for await (const record of table ? folder.table(path, HOW2QA) : folder.records(path)) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const fields = record.fields as Record<string, unknown>;
      const id = String(fields.qid ?? fields.question_id ?? record.number);
      const [first, last] = [...String(fields.timesteps ?? fields.ts).matchAll(/\d+(?:\.\d+)?/g)].map(Number);
      const video = String(fields.vid_id ?? fields.vid_name);
      const { choices, answer } = table ? dealt(fields, id) : { choices: numbered(fields, 0, 4), answer: Number(fields.answer_idx) };
      const doc = { question: (fields.question ?? fields.q) as string, choices, answer, type: "" };
      yield itemOf(id, doc, inFolders(["videos/", "", "how2qa/"], video), { start: first ?? Number.NaN, end: last ?? Number.NaN });
    }
  },
  conventions: { anymal: anymal(scores) },
};

const numbered = (fields: Record<string, unknown>, from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => fields[`a${from + i}`] as string);
/** The file names the right answer first, always: each question's are dealt anew, the same each time. */
function dealt(fields: Record<string, unknown>, id: string): Pick<ChoiceDoc, "choices" | "answer"> {
  const all = numbered(fields, 1, 4);
  const order = new Draw(0, `how2qa/${id}`).shuffled([0, 1, 2, 3]);
  return { choices: order.map((i) => all[i] as string), answer: order.indexOf(0) };
}

/** By the first letter of a type: CW and CH, TN, TC and TP, DC, DL and DO. */
const NEXT_TYPES: Readonly<Record<string, string>> = { C: "causal", T: "temporal", D: "descriptive" };

export const nextQa: EvalTask<FilmDoc> = {
  name: "nextqa",
  about: "why and when things happen in films, five choices: accuracy, by kind",
  source: "NExT-QA, arXiv 2105.08276",
  layout: "val.csv (or test.csv, train.csv), map_vid_vidorID.json, films as NExTVideo/FOLDER/ID.mp4 or NExTVideo/ID.mp4",
  modality: "video",
  splits: ["val", "test", "train"],
  doc: DOC,
  problem: choiceProblem,
  async *read(folder, split) {
    const path = folder.file(`${split}.csv`, `nextqa/${split}.csv`, `dataset/nextqa/${split}.csv`);
    const map = folder.optional("map_vid_vidorID.json", "nextqa/map_vid_vidorID.json", "dataset/nextqa/map_vid_vidorID.json");
    const places = map !== undefined && existsSync(map) ? await folder.json(map) : {};
    for await (const record of folder.records(path)) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const fields = record.fields as Record<string, unknown>;
      const [video, type] = [String(fields.video), NEXT_TYPES[String(fields.type).slice(0, 1)] ?? ""];
      const mapped = isObject(places) ? places[video] : undefined;
      const films = [
        ...(typeof mapped === "string" ? inFolders(["NExTVideo/"], mapped) : []),
        ...inFolders(["NExTVideo/", "videos/", ""], video),
      ];
      const doc = { question: String(fields.question), choices: numbered(fields, 0, 5), answer: Number(fields.answer), type };
      yield itemOf(`${video}_${fields.qid}`, doc, films);
    }
  },
  conventions: {
    anymal: anymal(scores),
    "lmms-eval": {
      source: "lmms-eval nextqa_mc_test; where it draws a letter for an answer that names none, that answer is wrong here",
      ask: ({ question, choices }) => ({
        user: [MEDIA, [question.trim(), ...lettered(choices.map((choice) => choice.trim()))].join("\n")],
      }),
      maxNewTokens: 16,
      score: (answers) => choiceScores(answers, mmmuChoice, ({ type }) => type || undefined),
    },
  },
};

/** As MMMU's tool reads letters: in brackets, before a blank, before a period, else a choice's text in a long answer; of several the last. */
export function mmmuChoice(answer: string, { choices }: Pick<ChoiceDoc, "choices">): number {
  let said = answer;
  for (const mark of [",", ".", "!", "?", ";", ":", "'"]) said = trimmed(said, mark);
  said = ` ${said} `;
  const places = choices.map((_, i) => i);
  for (const [written, at] of [
    [(i: number) => `(${letterOf(i)})`, (i: number) => `(${letterOf(i)})`],
    [(i: number) => `${letterOf(i)} `, (i: number) => ` ${letterOf(i)} `],
    [(i: number) => `${letterOf(i)}.`, (i: number) => ` ${letterOf(i)} `],
  ] as const) {
    const found = places.filter((i) => said.includes(written(i)));
    if (found.length) return lastOf(found, (i) => said.lastIndexOf(at(i)));
  }
  const lower = said.toLowerCase();
  const named =
    said.trim().split(/\s+/).length > 5 ? places.filter((i) => lower.includes((choices[i] as string).trim().toLowerCase())) : [];
  return named.length ? lastOf(named, (i) => lower.lastIndexOf((choices[i] as string).trim().toLowerCase())) : -1;
}

/** The first of those that stand last. */
const lastOf = (found: readonly number[], at: (i: number) => number): number => found.reduce((best, i) => (at(i) > at(best) ? i : best));

function trimmed(text: string, mark: string): string {
  let [from, to] = [0, text.length];
  while (from < to && text[from] === mark) ++from;
  while (to > from && text[to - 1] === mark) --to;
  return text.slice(from, to);
}
