// Counts of answers to yes/no questions; yes is the positive class.

export type YesNo = "yes" | "no";
export interface YesNoScore {
  truePositives: number;
  falsePositives: number;
  trueNegatives: number;
  falseNegatives: number;
  precision: number;
  recall: number;
}

/** Of pairs that have an answer. A ratio of nothing is 0. */
export function countYesNo(pairs: readonly { given: YesNo; right: YesNo }[]): YesNoScore {
  const count = (given: YesNo, right: YesNo) => pairs.filter((pair) => pair.given === given && pair.right === right).length;
  const truePositives = count("yes", "yes");
  const falsePositives = count("yes", "no");
  const falseNegatives = count("no", "yes");
  return {
    truePositives,
    falsePositives,
    trueNegatives: count("no", "no"),
    falseNegatives,
    precision: ratio(truePositives, truePositives + falsePositives),
    recall: ratio(truePositives, truePositives + falseNegatives),
  };
}

export const ratio = (part: number, whole: number): number => (whole ? part / whole : 0);
