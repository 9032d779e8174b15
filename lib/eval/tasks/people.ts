// Questions about pictures that ten people answered: VQA v2, OK-VQA, TextVQA, VizWiz.
import { DataError } from "../../data/row.js";
import { agreement, normalizeVlmEvalKit, normalizeVqa, textVqaAccuracy, type VqaQuestion, vqaAccuracy } from "../vqa.js";
import type { Fields, TaskFolder } from "./folder.js";
import { type PeopleDoc, peopleScores } from "./scorers.js";
import { type Convention, type EvalTask, type Item, MEDIA, meanOf, TEXT, TEXTS } from "./task.js";

const DOC = { question: TEXT, answers: TEXTS };
const SYSTEM = 'You are a multimodal assistant. Answer directly, in a phrase, and do not begin with "Sure". Here is the image: ';
const SHORTLY = "\nAnswer the question using a single word or phrase.";
const OR_NOT = `\nWhen the provided information is insufficient, respond with 'Unanswerable'.${SHORTLY}`;

/** The question as it stands in the middle of a sentence. */
const within = (question: string): string => question.trim().replace(/^\p{Lu}(?=\p{Ll})/u, (letter) => letter.toLowerCase());
/** As Python capitalizes: the first letter, and no other. */
const capitalized = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1).toLowerCase();
/** The answer that most people gave, the first of several. */
export function mostGiven(answers: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1);
  return [...counts].reduce((best, one) => (one[1] > best[1] ? one : best), ["", 0] as [string, number])[0];
}

const inAnymal = (accuracy: (q: VqaQuestion) => number, ending: string, more = ""): Convention<PeopleDoc> => ({
  source: "AnyMAL, arXiv 2309.16058, appendix B.1",
  ask: ({ question }) => ({
    system: [SYSTEM.replace(" Here", `${more} Here`), MEDIA],
    user: [`In the image, ${within(question)} ${ending}`],
  }),
  maxNewTokens: 16,
  score: (answers) => peopleScores(answers, accuracy),
});
const harness = (
  source: string,
  ending: string,
  accuracy: (q: VqaQuestion) => number,
  asked: (question: string) => string = (question) => question,
): Convention<PeopleDoc> => ({
  source,
  ask: ({ question }) => ({ user: [MEDIA, asked(question) + ending] }),
  maxNewTokens: 16,
  score: (answers) => peopleScores(answers, accuracy),
});

const ONE_WORD = "Reply with one word or a short phrase.";

/** As VQA v2 counts, with answers normalised where people agree, too. */
const alwaysNormalized = ({ prediction, answers }: VqaQuestion): number => agreement(normalizeVqa(prediction), answers.map(normalizeVqa));
const vlmEvalKit = ({ prediction, answers }: VqaQuestion): number =>
  agreement(normalizeVlmEvalKit(prediction), answers.map(normalizeVlmEvalKit));
/** The share of people who said the same: VLMEvalKit's rule for what it has no other for. */
const shareOfSame = ({ prediction, answers }: VqaQuestion): number =>
  meanOf(answers.map((answer) => Number(normalizeVlmEvalKit(answer) === normalizeVlmEvalKit(prediction))));

/** Questions and annotations in two files, as VQA v2 has them. */
async function* twoFiles(
  folder: TaskFolder,
  questions: readonly string[],
  annotations: readonly string[],
): AsyncGenerator<Item<PeopleDoc> | DataError> {
  const path = folder.file(...questions);
  const asked = await folder.lists(path, "questions");
  const answered = await folder.lists(folder.file(...annotations), "annotations");
  const byId = new Map(answered.annotations.map((one) => [one.question_id, one]));
  for (const [i, { question_id: id, image_id: image, question }] of asked.questions.entries()) {
    const found = byId.get(id);
    if (!found) {
      yield folder.bad(path, i + 1, `an annotation of question ${id}`, "none");
      continue;
    }
    const file = (split: string) => `${split}/COCO_${split}_${String(image).padStart(12, "0")}.jpg`;
    yield itemOf(String(id), String(question), found, [
      file("val2014"),
      `images/${file("val2014")}`,
      file("train2014"),
      `images/${file("train2014")}`,
    ]);
  }
}

function itemOf(
  id: string,
  question: string,
  { answers, question_type: questionType, answer_type: answerType }: Fields,
  places: string[],
): Item<PeopleDoc> {
  const given = (Array.isArray(answers) ? answers : []).map((one) => (typeof one === "string" ? one : (one as Fields)?.answer)) as string[];
  const types = {
    ...(questionType !== undefined && { questionType: String(questionType) }),
    ...(answerType !== undefined && { answerType: String(answerType) }),
  };
  return {
    id,
    media: [{ modality: "image", places }],
    doc: { question, answers: given, ...types },
    target: mostGiven(given),
    ...(answerType !== undefined && { kind: String(answerType) }),
  };
}

const common = { modality: "image", doc: DOC } as const;

export const vqaV2: EvalTask<PeopleDoc> = {
  ...common,
  name: "vqav2",
  about: "questions about everyday pictures, ten people's answers each: VQA accuracy",
  source: "VQA v2, arXiv 1612.00837",
  layout: "v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json, pictures in val2014/",
  read: (folder) => twoFiles(folder, ["v2_OpenEnded_mscoco_val2014_questions.json"], ["v2_mscoco_val2014_annotations.json"]),
  conventions: {
    anymal: inAnymal(vqaAccuracy, ONE_WORD),
    "lmms-eval": harness("lmms-eval vqav2_val: answers normalised where people agree, too", SHORTLY, alwaysNormalized),
  },
  hub: { id: "lmms-lab-encoder/VQAv2", task: "vqav2_val" },
};

export const okVqa: EvalTask<PeopleDoc> = {
  ...common,
  name: "okvqa",
  about: "questions that need knowledge from outside of the picture: VQA accuracy",
  source: "OK-VQA, arXiv 1906.00067",
  layout: "OpenEnded_mscoco_val2014_questions.json, mscoco_val2014_annotations.json, pictures in val2014/",
  read: (folder) => twoFiles(folder, ["OpenEnded_mscoco_val2014_questions.json"], ["mscoco_val2014_annotations.json"]),
  conventions: {
    anymal: inAnymal(vqaAccuracy, ONE_WORD),
    "lmms-eval": harness("lmms-eval ok_vqa_val2014", OR_NOT, textVqaAccuracy),
  },
  hub: { id: "lmms-lab-encoder/OK-VQA", task: "ok_vqa_val2014" },
};

export const textVqa: EvalTask<PeopleDoc> = {
  ...common,
  name: "textvqa",
  about: "questions about text in pictures: VQA accuracy as TextVQA normalises",
  source: "TextVQA, arXiv 1904.08920",
  layout: "TextVQA_0.5.1_val.json, pictures in train_images/",
  async *read(folder) {
    const { data } = await folder.lists(folder.file("TextVQA_0.5.1_val.json"), "data");
    for (const one of data) {
      const file = `${one.image_id}.jpg`;
      yield itemOf(String(one.question_id), String(one.question), one, [
        `train_images/${file}`,
        `train_val_images/train_images/${file}`,
        `images/${file}`,
        file,
      ]);
    }
  },
  conventions: {
    anymal: inAnymal(textVqaAccuracy, ONE_WORD),
    "lmms-eval": harness("lmms-eval textvqa_val, without OCR tokens", SHORTLY, textVqaAccuracy, capitalized),
    vlmevalkit: harness("VLMEvalKit TextVQA_VAL", SHORTLY, vlmEvalKit),
  },
  hub: { id: "lmms-lab-encoder/textvqa", task: "textvqa_val" },
};

export const vizWiz: EvalTask<PeopleDoc> = {
  ...common,
  name: "vizwiz",
  about: "questions of blind people about their own pictures, some of which cannot be answered: VQA accuracy",
  source: "VizWiz, arXiv 1802.08218",
  layout: "Annotations/val.json or val.json, pictures in val/",
  async *read(folder) {
    const path = folder.file("Annotations/val.json", "annotations/val.json", "val.json");
    for await (const record of folder.records(path)) {
      if (record instanceof DataError) yield record;
      else {
        const { image, question } = record.fields;
        yield itemOf(String(image).replace(/\.\w+$/, ""), String(question), record.fields, [
          `val/${image}`,
          `images/${image}`,
          String(image),
        ]);
      }
    }
  },
  conventions: {
    anymal: inAnymal(
      vqaAccuracy,
      'Reply with one word or a short phrase, or with "unanswerable".',
      ' If the question cannot be answered, say "unanswerable".',
    ),
    "lmms-eval": harness("lmms-eval vizwiz_vqa_val", OR_NOT, textVqaAccuracy, capitalized),
    vlmevalkit: harness("VLMEvalKit VizWiz: the share of people who said the same", SHORTLY, shareOfSame),
  },
  hub: { id: "lmms-lab-encoder/VizWiz-VQA", task: "vizwiz_vqa_val" },
};
