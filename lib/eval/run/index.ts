// Evaluations: asked, scored, written.
export type { Answering } from "./answering.js";
export { type AnswerTaskOptions, answerTask } from "./evaluate.js";
export type { FoundMedium } from "./items.js";
export type { Prediction, PredictionHead, Predictions } from "./predictions.js";
export { type ResultFiles, type WriteResultsOptions, writeResults } from "./results.js";
export { type EvalReport, type ScoreOptions, type ShownScores, scorePredictions } from "./scoring.js";
export type { Control, Shown } from "./shown.js";
