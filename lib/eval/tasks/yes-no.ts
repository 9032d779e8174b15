// Yes or no about a picture: MME's fourteen tasks, POPE.
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { is } from "../../core/checks.js";
import { readPlain } from "../../core/plain-file.js";
import { DataError } from "../../data/row.js";
import { MME_COGNITION, MME_PERCEPTION, parseMme, scoreMme } from "../mme.js";
import { parsePope } from "../pope.js";
import { normalizeVlmEvalKit } from "../vqa.js";
import type { YesNo } from "../yes-no.js";
import { type Said, yesNoScores } from "./scorers.js";
import { type Convention, type EvalTask, type Item, MEDIA, type TaskAnswer, type TaskScores, TEXT } from "./task.js";

interface YesNoDoc {
  question: string;
  label: string;
  /** MME's task, POPE's way of choosing objects. */
  group: string;
  /** The picture's name. */
  picture: string;
}
const DOC = { question: TEXT, label: is.oneOf("yes", "no"), group: TEXT, picture: TEXT };
const SYSTEM = "You are a multimodal assistant. Answer with yes or no. Here is the image: ";
const SHORTLY = "\nAnswer the question using a single word or phrase.";
const MME_ENDING = " Please answer yes or no.";

type Score = (answers: readonly TaskAnswer<YesNoDoc>[]) => TaskScores;
const MME_TASKS: readonly string[] = [...MME_PERCEPTION, ...MME_COGNITION];

/** Two questions a picture; a picture that lacks one, since some were left out, does not count. */
const mmeScores =
  (parse: (answer: string) => Said): Score =>
  (answers) => {
    const said = answers.map(({ answer }) => parse(answer));
    const files = new Map<string, Map<string, string[]>>();
    for (const [i, { doc }] of answers.entries()) {
      const pictures = files.get(doc.group) ?? new Map<string, string[]>();
      files.set(doc.group, pictures);
      const line = `${doc.picture}\tquestion\t${doc.label}\t${said[i]}\n`;
      pictures.set(doc.picture, [...(pictures.get(doc.picture) ?? []), line]);
    }
    const whole = Array.from(files, ([group, pictures]): [string, string] => [
      group,
      [...pictures.values()]
        .filter(({ length }) => length === 2)
        .flat()
        .join(""),
    ]);
    const { tasks, perception, cognition } = scoreMme(Object.fromEntries(whole.filter(([, text]) => text)));
    const metrics: Record<string, number> = { perception, cognition };
    for (const [group, { accuracy, accuracyPlus, score }] of Object.entries(tasks)) {
      metrics[group] = score;
      metrics[`${group} accuracy`] = accuracy;
      metrics[`${group} accuracy+`] = accuracyPlus;
    }
    const counted = new Set(whole.flatMap(([group, text]) => text.split("\n").map((line) => `${group}/${line.split("\t")[0]}`)));
    const alone = answers.filter(({ doc }) => !counted.has(`${doc.group}/${doc.picture}`)).length;
    const notes = alone ? [`${alone} answers do not count: the other question about their picture has none`] : [];
    const missing = MME_TASKS.filter((name) => !tasks[name]);
    if (missing.length) notes.push(`the sums are of the tasks that are there; not there: ${missing.join(", ")}`);
    return { metrics, items: { right: answers.map(({ doc }, i) => Number(said[i] === doc.label)) }, parsed: said, notes };
  };

const anymal = (score: Score): Convention<YesNoDoc> => ({
  source: "AnyMAL's form for questions, arXiv 2309.16058, appendix B.1; read as the benchmark's own tool reads answers",
  ask: ({ question }) => ({ system: [SYSTEM, MEDIA], user: [`${question.replace(MME_ENDING, "")} Please answer yes or no.`] }),
  maxNewTokens: 16,
  score,
});

export const mme: EvalTask<YesNoDoc> = {
  name: "mme",
  about: "two yes/no questions a picture, fourteen tasks: accuracy and accuracy+, sums of perception and cognition",
  source: "MME, arXiv 2306.13394",
  layout:
    "a folder for each task (existence/, count/, … code_reasoning/) with pictures and .txt of two lines, or with images/ and questions_answers_YN/",
  modality: "image",
  doc: DOC,
  async *read(folder) {
    const there = MME_TASKS.filter((name) => folder.optional(name) !== undefined);
    if (!there.length) folder.file(...MME_TASKS);
    for (const group of there) {
      const at = folder.optional(`${group}/questions_answers_YN`) ?? folder.file(group);
      const files = readdirSync(at).filter((name) => name.endsWith(".txt"));
      for (const name of files.sort()) yield* mmePicture(group, join(at, name), folder.signal);
    }
  },
  conventions: {
    anymal: anymal(mmeScores(parseMme)),
    "lmms-eval": {
      source: "lmms-eval mme: periods are dropped, y and n count",
      ask: ({ question }) => ({ user: [MEDIA, question.trim().replaceAll(MME_ENDING, "") + SHORTLY] }),
      maxNewTokens: 16,
      score: mmeScores(inLmmsEval),
    },
    vlmevalkit: {
      source: "VLMEvalKit MME, matched without a judge",
      ask: ({ question }) => ({ user: [MEDIA, question] }),
      maxNewTokens: 128,
      score: mmeScores(inVlmEvalKit),
    },
  },
  hub: { id: "lmms-lab-encoder/MME", task: "mme" },
};

async function* mmePicture(group: string, path: string, signal?: AbortSignal): AsyncGenerator<Item<YesNoDoc> | DataError> {
  signal?.throwIfAborted();
  const picture = basename(path, ".txt");
  const lines = (await readPlain(path, { most: 1 << 20 }))
    .toString("utf8")
    .split(/\r?\n/)
    .filter((line) => line.trim());
  for (const [i, line] of lines.entries()) {
    const [question = "", label = ""] = line.split("\t");
    const doc = { question: question.trim(), label: label.trim().toLowerCase(), group, picture };
    const folders = [`${group}/images`, group];
    const places = folders.flatMap((at) => [".jpg", ".png", ".jpeg"].map((ending) => `${at}/${picture}${ending}`));
    yield { id: `${group}/${picture}/${i}`, media: [{ modality: "image", places }], doc, target: doc.label, kind: group };
  }
}

function inLmmsEval(answer: string): Said {
  const said = answer.toLowerCase().trim().replaceAll(".", "");
  if (said === "y") return "yes";
  return said === "n" ? "no" : parseMme(said);
}
/** The one of the two that stands as a word. */
function inVlmEvalKit(answer: string): Said {
  const words = normalizeVlmEvalKit(answer).split(" ");
  const [yes, no] = [words.includes("yes"), words.includes("no")];
  return yes === no ? "other" : yes ? "yes" : "no";
}

const HOWS = ["random", "popular", "adversarial"];

export const pope: EvalTask<YesNoDoc> = {
  name: "pope",
  about: "is an object in the picture? by how the object was chosen: accuracy, precision, recall, F1, share of yes",
  source: "POPE, arXiv 2305.10355",
  layout: "coco_pope_random.json, coco_pope_popular.json, coco_pope_adversarial.json (each may lie in coco/), pictures in val2014/",
  modality: "image",
  doc: DOC,
  async *read(folder) {
    const there = HOWS.filter((how) => folder.optional(`coco/coco_pope_${how}.json`, `coco_pope_${how}.json`) !== undefined);
    for (const how of there.length ? there : HOWS)
      for await (const record of folder.records(folder.file(`coco/coco_pope_${how}.json`, `coco_pope_${how}.json`))) {
        if (record instanceof DataError) {
          yield record;
          continue;
        }
        const { question_id: id, image, text, label } = record.fields;
        const doc = { question: String(text), label: String(label).trim().toLowerCase(), group: how, picture: String(image) };
        yield {
          id: `${how}/${id}`,
          media: [{ modality: "image", places: [`val2014/${image}`, `images/${image}`, String(image)] }],
          doc,
          target: doc.label,
          kind: how,
        };
      }
  },
  conventions: {
    anymal: anymal((answers) => popeScores(answers, ({ answer }) => parsePope(answer))),
    "lmms-eval": {
      source: "lmms-eval pope: the answer must be yes or no and nothing else; its yes ratio is of the labels",
      ask: ({ question }) => ({ user: [MEDIA, question.trim() + SHORTLY] }),
      maxNewTokens: 128,
      score: (answers) => popeScores(answers, ({ answer }) => wholly(answer), true),
    },
    vlmevalkit: {
      source: "VLMEvalKit POPE, matched without a judge",
      ask: ({ question }) => ({ user: [MEDIA, question] }),
      maxNewTokens: 128,
      score: (answers) => popeScores(answers, ({ answer }) => inVlmEvalKit(answer)),
    },
  },
  hub: { id: "lmms-lab-encoder/POPE", task: "pope" },
};

function wholly(answer: string): Said {
  const said = answer.toLowerCase().trim();
  return said === "yes" || said === "no" ? said : "other";
}

function popeScores(answers: readonly TaskAnswer<YesNoDoc>[], parse: (one: TaskAnswer<YesNoDoc>) => Said, labelsRatio = false): TaskScores {
  const right = answers.map(({ doc }) => doc.label as YesNo);
  const groups = answers.map(({ doc }) => doc.group);
  return yesNoScores({ said: answers.map(parse), right, groups }, { labelsRatio });
}
