// Scores of answers, and the controls without which they say little.
export { type CaptionPair, type CaptionScore, type CaptionScores, type CaptionScoring, scoreCaptions } from "./captions.js";
export { blank, type DerangeOptions, derange } from "./controls.js";
export { type ExactScore, type ExactScores, type GivenAnswer, isExact, normalizeAnswer, scoreExact } from "./exact.js";
export { type GroundingAnswer, type GroundingOptions, type GroundingScore, scoreGrounding } from "./grounding.js";
export { askHeldOut, type HeldOutOptions, type HeldOutScores } from "./held-out.js";
export { MME_COGNITION, MME_PERCEPTION, type MmeScore, type MmeTaskScore, parseMme, scoreMme } from "./mme.js";
export { type PopeAnswer, type PopeScore, parsePope, scorePope } from "./pope.js";
export { captionTokens, ptbTokens } from "./ptb-tokenizer.js";
export { averagePrecision, rocAuc } from "./roc-auc.js";
export * from "./run/index.js";
export { type ChoiceAnswer, type ChoiceScore, choiceIndex, parseChoice, scoreChoices } from "./science-qa.js";
export type { TaskFolder } from "./tasks/folder.js";
export { EVAL_TASKS, evalTask } from "./tasks/index.js";
export {
  type Asked as EvalPrompt,
  type AskedPart as EvalPromptPart,
  type Convention as EvalConvention,
  type EvalTask,
  type HubTask,
  type Item as EvalItem,
  type ItemMedium as EvalItemMedium,
  MEDIA as EVAL_MEDIA,
  type PromptsName,
  type TaskAnswer,
  type TaskScores,
} from "./tasks/task.js";
export { readTaskFile, type TaskSpec, taskOfSpec } from "./tasks/task-file.js";
export { normalizeTextVqa, normalizeVqa, scoreVqa, textVqaAccuracy, type VqaQuestion, type VqaScores, vqaAccuracy } from "./vqa.js";
export type { YesNo, YesNoScore } from "./yes-no.js";
