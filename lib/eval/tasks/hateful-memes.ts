// Hateful Memes: how probable is a yes?
import { is } from "../../core/checks.js";
import { DataError } from "../../data/row.js";
import { rocAuc } from "../roc-auc.js";
import { type EvalTask, MEDIA, meanOf, type TaskAnswer, type TaskScores, TEXT } from "./task.js";

interface MemeDoc {
  text: string;
  label: number;
}

export const hatefulMemes: EvalTask<MemeDoc> = {
  name: "hateful-memes",
  about: "is a meme hateful? area under the ROC curve of the probability of yes",
  source: "Hateful Memes, arXiv 2005.04790",
  layout: "dev_seen.jsonl, dev_unseen.jsonl, test_seen.jsonl, test_unseen.jsonl (a split each), pictures in img/",
  modality: "image",
  splits: ["dev_seen", "dev_unseen", "test_seen", "test_unseen", "train"],
  doc: { text: TEXT, label: is.upTo(1) },
  async *read(folder, split) {
    for await (const record of folder.records(folder.file(`${split}.jsonl`))) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const { id, img, label, text } = record.fields;
      const doc = { text: String(text), label: label as number };
      yield { id: String(id), media: [{ modality: "image", places: [String(img), `img/${img}`] }], doc, target: label ? "yes" : "no" };
    }
  },
  conventions: {
    anymal: {
      source: "AnyMAL, arXiv 2309.16058, appendix B.1; P(yes) against P(no) as OpenFlamingo takes it",
      ask: ({ text }) => ({
        system: ["You are a content moderator who looks for hateful memes. Here is the meme: ", MEDIA, ` The text on it says: "${text}"`],
        user: ["Is this meme hateful? Answer with yes or no."],
      }),
      maxNewTokens: 4,
      options: ["yes", "no"],
      score: (answers) => probabilityScores(answers, ({ label }) => label === 1),
    },
  },
};

/** Of log-probabilities of yes and no, the share of yes; an answer in words counts as 1 or 0. */
export function shareOfYes({ answer, logProbabilities }: Pick<TaskAnswer, "answer" | "logProbabilities">): number {
  if (!logProbabilities) return /^\s*yes\b/i.test(answer) ? 1 : 0;
  const [yes = 0, no = 0] = logProbabilities;
  return 1 / (1 + Math.exp(no - yes));
}

/** Area under the ROC curve of shareOfYes, and how often it is on the right side of a half. */
export function probabilityScores<D extends object>(answers: readonly TaskAnswer<D>[], isYes: (doc: D) => boolean): TaskScores {
  const shares = answers.map(shareOfYes);
  const labels = answers.map(({ doc }) => Number(isYes(doc)));
  const right = shares.map((share, i) => Number(share > 0.5 === (labels[i] === 1)));
  const metrics = { "ROC-AUC": rocAuc(labels, shares), accuracy: meanOf(right) };
  const asWords = answers.filter(({ logProbabilities }) => !logProbabilities).length;
  const notes = asWords ? [`${asWords} answers are words: they count as certain`] : [];
  return { metrics, items: { accuracy: right, "P(yes)": shares }, parsed: shares.map((share) => (share > 0.5 ? "yes" : "no")), notes };
}
