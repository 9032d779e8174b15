// Public names.
export { Adapter, adaptersOn } from "./adapters/adapter.js";
export { type Drift, type ExportOptions, exportMerged } from "./adapters/export.js";
export { VisualProjection } from "./adapters/llama-adapter.js";
export { type AdapterOptions, createAdapter, loadAdapter } from "./adapters/load-adapter.js";
export { LoraAdapter } from "./adapters/lora.js";
export type { LoraConfig } from "./adapters/lora-config.js";
export { type AnswerOptions, AnyMAL, type FromPretrainedOptions } from "./anymal/anymal.js";
export { ConversationMemory } from "./anymal/conversation-memory.js";
export { exportLlava } from "./anymal/export-llava.js";
export type {
  AssembleOptions,
  LinearOptions,
  ModalityOptions,
  ProjectorOptions,
  PromptFormat,
  QuantizationName,
  ResamplerOptions,
} from "./anymal/options.js";
export type { PromptInput } from "./anymal/prompt.js";
export { backward, backwardAsync, checkpoint, isGradEnabled, noGrad } from "./core/autograd.js";
export { Capture, type Device, type DeviceMemory, type DeviceOptions, defaultDevice, device, openDevice } from "./core/device.js";
export { AnymalError } from "./core/errors.js";
export { seed } from "./core/random.js";
export { keep, scope } from "./core/scope.js";
export { type DType, Tensor, type TensorData, type TensorOptions } from "./core/tensor.js";
export { Batches, type BatchOptions, type BatchState } from "./data/batches.js";
export { CAPTION_PROMPTS, type CaptionOptions, readCaptions } from "./data/captions.js";
export { type CheckFileOptions, type CheckOptions, type CheckSummary, checkFile, checkRows } from "./data/check.js";
export { type ConversationOptions, readConversations } from "./data/conversations.js";
export { FeatureCache, type FeatureCacheOptions, type Features } from "./data/feature-cache.js";
export { featureKey, folderFingerprint } from "./data/feature-key.js";
export { type Content, DataError, mediaOf, type Role, type Row, type Turn } from "./data/row.js";
export { type WorldCounts, type WorldOptions, writeWorld } from "./data/world/write.js";
export { type CaptionPair, type CaptionScore, type CaptionScores, type CaptionScoring, scoreCaptions } from "./eval/captions.js";
export { blank, type DerangeOptions, derange } from "./eval/controls.js";
export { type ExactScore, type ExactScores, type GivenAnswer, isExact, normalizeAnswer, scoreExact } from "./eval/exact.js";
export { MME_COGNITION, MME_PERCEPTION, type MmeScore, type MmeTaskScore, parseMme, scoreMme } from "./eval/mme.js";
export { type PopeAnswer, type PopeScore, parsePope, scorePope } from "./eval/pope.js";
export { captionTokens, ptbTokens } from "./eval/ptb-tokenizer.js";
export { averagePrecision, rocAuc } from "./eval/roc-auc.js";
export { type ChoiceAnswer, type ChoiceScore, choiceIndex, parseChoice, scoreChoices } from "./eval/science-qa.js";
export { normalizeTextVqa, normalizeVqa, scoreVqa, textVqaAccuracy, type VqaQuestion, type VqaScores, vqaAccuracy } from "./eval/vqa.js";
export type { YesNo, YesNoScore } from "./eval/yes-no.js";
export { PrefixCache } from "./generate/prefix-cache.js";
export { Checkpoint, type WeightSource } from "./io/checkpoint.js";
export { type Converted, type ConvertOptions, convertCheckpoint } from "./io/convert.js";
export { GgufFile, type GgufTensor, type GgufValue } from "./io/gguf.js";
export { GgufCheckpoint } from "./io/gguf-checkpoint.js";
export {
  type DownloadProgress,
  type FileSet,
  type HubCode,
  HubError,
  type HubSettings,
  hubSettings,
  type ResolveOptions,
  resolveModel,
} from "./io/hub.js";
export { type SaveOptions, saveModel } from "./io/model-folder.js";
export { SafetensorsFile, saveSafetensors } from "./io/safetensors.js";
export { TorchFile, type TorchFileOptions, type TorchForm } from "./io/torch-file.js";
export { type AudioOptions, type AudioPart, audio, loadAudio, resampled, type Sound } from "./media/audio.js";
export { type AudioFeatures, AudioProcessor, type AudioProcessorOptions, type Crop } from "./media/audio-processor.js";
export { AutoProcessor, type AutoProcessorOptions, type Processor } from "./media/auto-processor.js";
export { type MediaCode, MediaError } from "./media/error.js";
export { type ImageOptions, type ImagePart, image, loadImage, type Pixels } from "./media/image.js";
export { ImageProcessor, type PixelValues } from "./media/image-processor.js";
export {
  type ImuOptions,
  type ImuPart,
  type ImuRecording,
  type ImuSource,
  imu,
  loadImu,
  loadImuAt,
} from "./media/imu.js";
export type { ImuColumns } from "./media/imu-columns.js";
export { ImuProcessor, type ImuValues } from "./media/imu-processor.js";
export type { MediaKind, OwnEncoder, OwnKinds, OwnPart } from "./media/kinds/index.js";
export { type MediaKindOptions, type Medium, mediaKind, type OwnOptions } from "./media/kinds/own.js";
export type { MediaOptions } from "./media/media-options.js";
export { type Matrix, readNpy } from "./media/npy.js";
export type { EncoderInput, MediaPart, MediaProcessor, Modality } from "./media/part.js";
export type { Loading, MediaSource } from "./media/source.js";
export { type Frames, type LoadedVideo, loadVideo, type VideoOptions, type VideoPart, video } from "./media/video.js";
export { VideoProcessor, type VideoProcessorOptions } from "./media/video-processor.js";
export { soundOf } from "./media/video-sound.js";
export { type AnyMALBatch, AnyMALNetwork, type AnyMALNetworkOptions } from "./models/anymal.js";
export { AutoModelForCausalLM, type AutoModelOptions } from "./models/auto-causal-lm.js";
export { AutoEncoder, type AutoEncoderOptions } from "./models/auto-encoder.js";
export { type ConcatLinearOptions, ConcatLinearProjector } from "./models/bridges/concat-linear.js";
export type { Bridge, Bridge as Projector } from "./models/bridges/kind.js";
export { LinearProjector, type LinearProjectorConfig } from "./models/bridges/linear.js";
export { type MlpOptions, MlpProjector } from "./models/bridges/mlp.js";
export { Resampler, type ResamplerConfig } from "./models/bridges/perceiver.js";
export { ResamplerProjector } from "./models/bridges/resampler.js";
export { ClapAudioModel, type ClapAudioOptions, type ClapAudioOutput, melStatistics } from "./models/clap-audio.js";
export { type ClapAudioConfig, parseClapAudioConfig } from "./models/clap-config.js";
export { ClipModel } from "./models/clip.js";
export {
  type ClipConfig,
  type ClipTextConfig,
  type ClipVisionConfig,
  parseClipConfig,
  parseClipTextConfig,
  parseClipVisionConfig,
} from "./models/clip-config.js";
export { ClipTextModel, type ClipTextOutput } from "./models/clip-text.js";
export { ClipVisionModel } from "./models/clip-vision.js";
export { ConfigError } from "./models/config.js";
export { Dinov2Model } from "./models/dinov2.js";
export { type Dinov2Config, parseDinov2Config } from "./models/dinov2-config.js";
export type { Encoder, EncoderLoading, EncoderOptions, EncoderOutput } from "./models/encoder.js";
export { type Imu2ClipConfig, Imu2ClipModel, parseImu2ClipConfig } from "./models/imu2clip.js";
export { LlamaForCausalLM, type LlamaInput, type LlamaOptions, type LlamaOutput, type PretrainedOptions } from "./models/llama.js";
export { type LlamaConfig, parseLlamaConfig } from "./models/llama-config.js";
export { llamaFromGguf } from "./models/llama-gguf.js";
export { parseOpenClipConfig } from "./models/open-clip-config.js";
export { OpenClipVisionModel } from "./models/open-clip-vision.js";
export { parseSiglipVisionConfig, type SiglipVisionConfig } from "./models/siglip-config.js";
export { SiglipVisionModel } from "./models/siglip-vision.js";
export { parseViClipConfig, type ViClipConfig, ViClipModel } from "./models/vi-clip.js";
export { VideoMaeModel, type VideoMaeOptions } from "./models/video-mae.js";
export { parseVideoMaeConfig, type VideoMaeConfig } from "./models/video-mae-config.js";
export { KVCache } from "./nn/kv-cache.js";
export { Module } from "./nn/module.js";
export { type Quantization, Weights } from "./nn/weights.js";
export * from "./ops/index.js";
export { SYSTEMS, type SystemName } from "./systems/index.js";
export type { Numbers, Stage, System, SystemAdapter, SystemModality } from "./systems/system.js";
export { AutoTokenizer, type AutoTokenizerOptions } from "./text/auto-tokenizer.js";
export { type ChatOptions, ChatTemplate, type Message } from "./text/chat-template.js";
export { fitParts, promptLength } from "./text/fit-parts.js";
export { type PromptOptions, type PromptPart, promptParts } from "./text/prompt.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  type TokenBatch,
  type TokenBatchOptions,
  Tokenizer,
} from "./text/tokenizer.js";
export { accumulate } from "./train/accumulation.js";
export { type AlignOptions, align } from "./train/align.js";
export { type InstructOptions, instruct } from "./train/instruct.js";
export { AdamW, type AdamWOptions, decayMatricesOnly, type ParameterGroup } from "./train/optimizer.js";
export { Progress, type ProgressOptions, progressLine } from "./train/progress.js";
export type { RateGroup } from "./train/rates.js";
export {
  type AlignRecipe,
  alignRecipe,
  type InstructRecipe,
  instructRecipe,
  type Recipe,
  readRecipe,
  recipe,
  type TrainingRecipe,
  writeRecipe,
} from "./train/recipe.js";
export * as schedules from "./train/schedule.js";
export type { StageOptions } from "./train/stage.js";
export type { StepReport, TrainStep } from "./train/step-report.js";
export type { Keeper, MicroLoss, RunNumbers, Stateful, Trainee, Windows } from "./train/trainee.js";
export { type TrainOptions, train } from "./train/trainer.js";
