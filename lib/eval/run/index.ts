// Evaluations: asked, scored, written.
export type { Answering as EvalModel } from "./answering.js";
export { type AnswerTaskOptions, answerTask } from "./evaluate.js";
export type { FoundMedium as EvalMedium } from "./items.js";
export type { Prediction, PredictionHead, Predictions } from "./predictions.js";
export { type ResultFiles, type WriteResultsOptions, writeResults } from "./results.js";
export { type EvalReport, type ScoringOptions, type ShownScores, scorePredictions } from "./scoring.js";
export type { Control as EvalControl, Shown as EvalShown } from "./shown.js";
