// People's verdicts on answers: a sheet that tells nobody whose is whose, and what verdicts come to.
export type { JudgeKey } from "./pairs.js";
export { type JudgeSheet, type JudgeSheetOptions, writeJudgeSheet } from "./sheet.js";
export {
  type JudgeReport,
  type JudgeVerdicts,
  RUBRIC as JUDGE_RUBRIC,
  type RubricName,
  readKey as readJudgeKey,
  readVerdicts as readJudgeVerdicts,
  type Share as JudgeShare,
  scoreVerdicts,
  type Verdict as JudgeVerdict,
} from "./verdicts.js";
