// MME (arXiv 2306.13394): two yes/no questions per picture, 14 tasks; numbers as its own tool computes them.
import { expected } from "../core/errors.js";
import { countYesNo, type YesNo, type YesNoScore } from "./yes-no.js";

/** Tasks whose scores add up to MME's perception. */
export const MME_PERCEPTION = [
  "existence",
  "count",
  "position",
  "color",
  "posters",
  "celebrity",
  "scene",
  "landmark",
  "artwork",
  "OCR",
] as const;
/** Tasks whose scores add up to MME's cognition. */
export const MME_COGNITION = ["commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"] as const;

export interface MmeTaskScore extends YesNoScore {
  /** Answers that are neither: always wrong, and left out of precision and recall. */
  other: number;
  /** Right answers of all. */
  accuracy: number;
  /** Pictures with both answers right of all. */
  accuracyPlus: number;
  /** 100 times the two together: at most 200. */
  score: number;
}
export interface MmeScore {
  tasks: Record<string, MmeTaskScore>;
  /** Sums over the tasks that are there: at most 2000 and 800. */
  perception: number;
  cognition: number;
}

/** yes or no where the answer is that, or has it in its first four characters: "not sure" is a no, "answer: yes" is neither. */
export function parseMme(response: string): YesNo | "other" {
  const start = response.toLowerCase().slice(0, 4);
  return start.includes("yes") ? "yes" : start.includes("no") ? "no" : "other";
}

/** `results`: the text of each task's file by the task's name. A line is picture, question, right answer and response, apart by tabs. */
export function scoreMme(results: Readonly<Record<string, string>>): MmeScore {
  const tasks = Object.fromEntries(Object.entries(results).map(([task, text]) => [task, scoreTask(task, text)]));
  const sum = (names: readonly string[]) => names.reduce((total, name) => total + (tasks[name]?.score ?? 0), 0);
  return { tasks, perception: sum(MME_PERCEPTION), cognition: sum(MME_COGNITION) };
}

function scoreTask(task: string, text: string): MmeTaskScore {
  const pairs = linesOf(text).map((line, i) => {
    const [picture, , right, response] = line.split("\t");
    const label = right?.toLowerCase();
    if ((label !== "yes" && label !== "no") || response === undefined)
      throw expected(
        "E_VALUE",
        `MME ${task}, line ${i + 1}`,
        "picture, question, Yes or No, response, apart by tabs",
        JSON.stringify(line),
      );
    return { picture, right: label as YesNo, given: parseMme(response) };
  });
  if (!pairs.length) throw expected("E_VALUE", `MME ${task}`, "at least one picture", "an empty file");
  let both = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    const [a, b] = [pairs[i], pairs[i + 1]];
    if (!a || !b || a.picture !== b.picture)
      throw expected("E_VALUE", `MME ${task}, line ${i + 1}`, `two lines in a row for ${a?.picture}`, b?.picture ?? "one");
    if (a.given === a.right && b.given === b.right) ++both;
  }
  const answered = pairs.flatMap(({ given, right }) => (given === "other" ? [] : [{ given, right }]));
  const counts = countYesNo(answered);
  const accuracy = (counts.truePositives + counts.trueNegatives) / pairs.length;
  const accuracyPlus = both / (pairs.length / 2);
  return { ...counts, other: pairs.length - answered.length, accuracy, accuracyPlus, score: 100 * accuracy + 100 * accuracyPlus };
}

/** With their line ends, which are part of the response. */
const linesOf = (text: string): string[] => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
