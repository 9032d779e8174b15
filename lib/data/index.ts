// What training and evaluation read: files of rows, their order, and what encoders made of their media.
export { type RowsOptions, readRows } from "./any-layout.js";
export { Batches, type BatchOptions, type BatchState } from "./batches.js";
export {
  type Box,
  type BoxOptions,
  boxIou,
  boxPixels,
  boxShares,
  boxText,
  type PictureSize,
  parseBox,
  parseBoxes,
  pixelIou,
  pointText,
} from "./boxes.js";
export { CAPTION_PROMPTS, type CaptionOptions, readCaptions } from "./captions.js";
export { type CheckFileOptions, type CheckOptions, type CheckSummary, checkFile, checkRows, type DataKind, type Problem } from "./check.js";
export { type CheckDataOptions, checkData, type DataProblem, type DataReport } from "./check-data.js";
export { type ConversationOptions, readConversations } from "./conversations.js";
export { Draw } from "./draw.js";
export { FeatureCache, type FeatureCacheCounts, type FeatureCacheOptions, type Features } from "./feature-cache.js";
export { featureKey, folderFingerprint } from "./feature-key.js";
export { type HubDataOptions, resolveData } from "./hub-data.js";
export { LAYOUTS, type Layout, type LayoutName } from "./layouts.js";
export type { MediaFileOptions } from "./media-files.js";
export { type MimicItOptions, writeMimicIt } from "./mimic-it.js";
export { type DataPart, mixedOrder, type TrainingData } from "./mixture.js";
export { type Demonstration, type PictureForm, picturePrompt } from "./mmicl.js";
export { type OpenRowsOptions, openRows } from "./open-rows.js";
export { blockOrder, inOrder, type Order, shuffledOrder } from "./order.js";
export { type NamedReader, READERS, type ReaderName } from "./readers.js";
export type { BadRowOptions } from "./records.js";
export { type AnnotationOptions, readAnnotations } from "./referential/annotations.js";
export { consistent, type Found, type Remapped, remapped } from "./referential/consistent.js";
export type { MarkedObject, MarkedPicture, MarkedRegion, MarkedRelation } from "./referential/picture.js";
export { REFERENTIAL_TASKS, type Referential, type ReferentialOptions, type ReferentialTask, referential } from "./referential/tasks.js";
export { type WriteReferentialOptions, writeReferential } from "./referential/write.js";
export { type Content, DataError, mediaOf, type Role, type Row, type Turn } from "./row.js";
export { type Counted, heldRows, joinedRows, type RowSource } from "./sources/source.js";
export { type SupportedOptions, supported } from "./supported.js";
export { type Split, type WorldCounts, type WorldOptions, writeWorld } from "./world/write.js";
