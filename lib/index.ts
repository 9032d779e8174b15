// Public names. What belongs to one thing has a namespace too: ops, nn, data, scoring, schedules. Names that say little without it (ops.linear, nn.zeros)
// are better taken from there; those that stood here before they did stay.
export { Adapter, adaptersOn } from "./adapters/adapter.js";
export type { AdapterDrawing, AdapterLoading } from "./adapters/adapter-files.js";
export type { BottleneckConfig } from "./adapters/bottleneck.js";
export { type Drift, type ExportOptions, exportMerged } from "./adapters/export.js";
export type { GatedConfig } from "./adapters/gated.js";
export type { Ia3Config } from "./adapters/ia3.js";
export type { AdapterKind } from "./adapters/kind.js";
export { type LavinConfig, LavinShared } from "./adapters/lavin.js";
export type { AdaptionPromptConfig, LlamaAdapterConfig } from "./adapters/llama-adapter.js";
export { VisualProjection } from "./adapters/llama-adapter.js";
export { type LlamaAdapterV2Config, V2Projection, type V2Visual, V2VisualPath } from "./adapters/llama-adapter-v2.js";
export { type AdapterOptions, createAdapter, loadAdapter } from "./adapters/load-adapter.js";
export { LoraAdapter } from "./adapters/lora.js";
export type { LoraConfig } from "./adapters/lora-config.js";
export { LoraConfigError } from "./adapters/lora-error.js";
export type { PinkConfig } from "./adapters/pink.js";
export type { PrefixTuningConfig } from "./adapters/prefix-tuning.js";
export type { PromptTuningConfig } from "./adapters/prompt-tuning.js";
export type { TrainedTokensConfig } from "./adapters/trained-tokens.js";
export { type AddAdapterOptions, type AnswerOptions, AnyMAL, type FeatureOptions, type FromPretrainedOptions } from "./anymal/anymal.js";
export { CheckpointError } from "./anymal/checkpoint-error.js";
export { ConversationMemory } from "./anymal/conversation-memory.js";
export { exportBlip2 } from "./anymal/export-blip2.js";
export { exportLlava } from "./anymal/export-llava.js";
export { FirstStage, type FirstStageOptions, type StoredFirstStageOptions } from "./anymal/first-stage.js";
export type { Features as MediaFeatures, MediaEncoder } from "./anymal/media-encoder.js";
export type {
  AssembleOptions,
  LinearOptions,
  LoadOptions,
  ModalityOptions,
  OwnModalityOptions,
  ProjectorOptions,
  PromptFormat,
  QuantizationName,
  ResamplerOptions,
} from "./anymal/options.js";
export type { AdapterPlace, AnyMALParts } from "./anymal/parts.js";
export type { PromptInput } from "./anymal/prompt.js";
export type { Judging, Refused, Safety, Verdict } from "./anymal/safety.js";
export type { AnswerScore, AnswerScoreOptions, NextTokenOptions } from "./anymal/score.js";
export type { Written } from "./anymal/written.js";
export { backward, backwardAsync, checkpoint, isGradEnabled, noGrad } from "./core/autograd.js";
export { Capture, type Device, type DeviceMemory, type DeviceOptions, defaultDevice, device, openDevice } from "./core/device.js";
export { AnymalError } from "./core/errors.js";
export { FileError } from "./core/file-error.js";
export { seed } from "./core/random.js";
export { keep, scope } from "./core/scope.js";
export { type DType, Tensor, type TensorData, type TensorOptions } from "./core/tensor.js";
export * from "./data/index.js";
export * as data from "./data/index.js";
export * from "./eval/index.js";
export * as scoring from "./eval/index.js";
export { type Beam, beamSearch } from "./generate/beams.js";
export type { CausalLM, Prompt } from "./generate/causal-lm.js";
export type { GenerationOptions } from "./generate/generate.js";
export { GenerationError, type SamplingOptions } from "./generate/logits.js";
export { PrefixCache } from "./generate/prefix-cache.js";
export type { SamplerOptions } from "./generate/sampler.js";
export { type ContinuationScore, nextLogProbs, type ScoreOptions, scoreContinuations } from "./generate/score.js";
export type { Answer, TextOptions } from "./generate/text.js";
export { Checkpoint, type WeightSource } from "./io/checkpoint.js";
export { type Converted, type ConvertOptions, convertCheckpoint } from "./io/convert.js";
export { BusyError } from "./io/folder-lock.js";
export { GgufFile, type GgufTensor, type GgufValue } from "./io/gguf.js";
export { GgufCheckpoint } from "./io/gguf-checkpoint.js";
export { GgufError } from "./io/gguf-header.js";
export type { GgufTypeName } from "./io/gguf-types.js";
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
export type { Saveable } from "./io/model-folder.js";
export { type SaveOptions, saveModel } from "./io/model-folder.js";
export { type HostTensor, SafetensorsFile, saveSafetensors, type Writable } from "./io/safetensors.js";
export { SafetensorsError } from "./io/safetensors-header.js";
export { PickleError } from "./io/torch/error.js";
export { TorchFile, type TorchFileOptions, type TorchForm } from "./io/torch-file.js";
export * from "./judges/index.js";
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
export type { Channel, ImuColumns } from "./media/imu-columns.js";
export type { AccelerationUnit, GyroscopeUnit, TimeUnit } from "./media/imu-names.js";
export { ImuProcessor, type ImuValues } from "./media/imu-processor.js";
export type { BuiltIn, MediaKind, OwnEncoder, OwnKinds, OwnPart } from "./media/kinds/index.js";
export { type MediaKindOptions, type Medium, mediaKind, type OwnOptions } from "./media/kinds/own.js";
export type { MediaOptions } from "./media/media-options.js";
export { type Matrix, readNpy } from "./media/npy.js";
export type { EncoderInput, MediaPart, MediaProcessor, Modality } from "./media/part.js";
export { differenceHash, hashDistance } from "./media/perceptual-hash.js";
export type { PreprocessorConfig } from "./media/preprocessor-config.js";
export type { Loading, MediaSource } from "./media/source.js";
export { type SpeechFeatures, SpeechProcessor } from "./media/speech-processor.js";
export { type Frames, type LoadedVideo, loadVideo, type VideoOptions, type VideoPart, type VideoSource, video } from "./media/video.js";
export { VideoProcessor, type VideoProcessorOptions } from "./media/video-processor.js";
export { soundOf } from "./media/video-sound.js";
export type { Embedded, MediaReference } from "./models/anymal.js";
export { type AnyMALBatch, AnyMALNetwork, type AnyMALNetworkOptions } from "./models/anymal.js";
export { AutoModelForCausalLM, type AutoModelOptions } from "./models/auto-causal-lm.js";
export { AutoEncoder, type AutoEncoderOptions } from "./models/auto-encoder.js";
export type { Chosen, StageOneLosses } from "./models/blip2-losses.js";
export { Blip2StageOne, type Blip2StageOneConfig, type Others, type Pairs } from "./models/blip2-stage-one.js";
export { Blip2VisionModel } from "./models/blip2-vision.js";
export { type Blip2VisionConfig, parseBlip2VisionConfig } from "./models/blip2-vision-config.js";
export type { ClipPoolConfig } from "./models/bridges/clip-pool.js";
export { type ClipPoolOptions, ClipPoolProjector, clipPool } from "./models/bridges/clip-pool.js";
export type { ConcatLinearConfig } from "./models/bridges/concat-linear.js";
export { type ConcatLinearOptions, ConcatLinearProjector } from "./models/bridges/concat-linear.js";
export type { FeatureNormKind } from "./models/bridges/feature-norm.js";
export type { Bridge, Bridge as Projector, Gives, Told } from "./models/bridges/kind.js";
export { LinearProjector, type LinearProjectorConfig } from "./models/bridges/linear.js";
export type { MlpActivation, MlpProjectorConfig } from "./models/bridges/mlp.js";
export { type MlpOptions, MlpProjector } from "./models/bridges/mlp.js";
export type { ResamplerForm } from "./models/bridges/perceiver.js";
export { Resampler, type ResamplerConfig } from "./models/bridges/perceiver.js";
export { type QFormerOptions, QFormerProjector, type QFormerProjectorConfig } from "./models/bridges/q-former.js";
export { type IdRows, QFormer, type QFormerConfig, QFormerWords, type WordsConfig } from "./models/bridges/querying.js";
export type { ResamplerProjectorOptions } from "./models/bridges/resampler.js";
export { ResamplerProjector } from "./models/bridges/resampler.js";
export type { FeatureLayer, Select } from "./models/bridges/select.js";
export { CausalDecoder, type DecoderPaths } from "./models/causal-decoder.js";
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
export type { Json as ConfigJson } from "./models/config.js";
export { ConfigError } from "./models/config.js";
export { type Begun, DecoderBody } from "./models/decoder-body.js";
export type { DecoderConfig } from "./models/decoder-config.js";
export { Dinov2Model } from "./models/dinov2.js";
export { type Dinov2Config, parseDinov2Config } from "./models/dinov2-config.js";
export type { Encoder, EncoderLoading, EncoderOptions, EncoderOutput } from "./models/encoder.js";
export { type ImuVitConfig, ImuVitModel, type ImuVitOptions, parseImuVitConfig } from "./models/imu-vit.js";
export { type Imu2ClipConfig, Imu2ClipModel, parseImu2ClipConfig } from "./models/imu2clip.js";
export { type ClassifierOptions, type Labelled, LinearClassifier } from "./models/linear-classifier.js";
export { LlamaForCausalLM, type LlamaInput, type LlamaOptions, type LlamaOutput, type PretrainedOptions } from "./models/llama.js";
export { type LlamaConfig, parseLlamaConfig } from "./models/llama-config.js";
export { llamaFromGguf } from "./models/llama-gguf.js";
export { MptForCausalLM } from "./models/mpt.js";
export { type MptConfig, parseMptConfig } from "./models/mpt-config.js";
export { parseOpenClipConfig } from "./models/open-clip-config.js";
export { OpenClipVisionModel } from "./models/open-clip-vision.js";
export { OptForCausalLM } from "./models/opt.js";
export { type OptConfig, parseOptConfig } from "./models/opt-config.js";
export type { Piece as ModelPiece, Place as ModelPlace } from "./models/piece.js";
export { Qwen2AudioEncoder } from "./models/qwen2-audio.js";
export { parseSiglipVisionConfig, type SiglipVisionConfig } from "./models/siglip-config.js";
export { SiglipVisionModel } from "./models/siglip-vision.js";
export { parseQwen2AudioConfig, parseWhisperConfig, type SpeechConfig } from "./models/speech-config.js";
export { SpeechTower } from "./models/speech-tower.js";
export { parseViClipConfig, type ViClipConfig, ViClipModel } from "./models/vi-clip.js";
export { VideoMaeModel, type VideoMaeOptions } from "./models/video-mae.js";
export { parseVideoMaeConfig, type VideoMaeConfig } from "./models/video-mae-config.js";
export { WhisperEncoder } from "./models/whisper.js";
export type { BertTold, Seen } from "./nn/bert-layer.js";
export { Embedding } from "./nn/embedding.js";
export * as nn from "./nn/index.js";
export type { CacheType } from "./nn/key-values.js";
export { CacheFullError, type CacheOptions, KVCache } from "./nn/kv-cache.js";
export { unwrap, Wrap, wrap } from "./nn/layer.js";
export { Linear, type LinearLayer, type LinearLayerOptions } from "./nn/linear.js";
export { Module, StateError } from "./nn/module.js";
export { LayerNorm, RMSNorm } from "./nn/norm.js";
export type { RopeAngles, RopeScaling } from "./nn/rope-frequencies.js";
export { type Ids, MaskError, type MediaBeside } from "./nn/sequence.js";
export type { CheckpointOptions, FreshOptions, Init, OutlineOptions } from "./nn/weights.js";
export { type Quantization, Weights } from "./nn/weights.js";
export type {
  /** @deprecated Of the op; take `ops.AttentionOptions`. */
  AttentionOptions,
  /** @deprecated Of linearQuantizedLora(), not of an adapter; take `ops.LoraOptions`. */
  LoraOptions,
} from "./ops/index.js";
export * from "./ops/index.js";
export * as ops from "./ops/index.js";
export type { GeneratingOptions } from "./plan/generating.js";
export { CARDS, type Machine } from "./plan/machines.js";
export { type PlanOptions, plan } from "./plan/plan.js";
export type { PlannedBytes, PlannedStage, PlannedTime, PlannedValidation, PlanReport } from "./plan/report.js";
export { SYSTEM_NAMES, SYSTEMS, type SystemName } from "./systems/index.js";
export type { LoraNumbers, Numbers, Stage, System, SystemAdapter, SystemModality } from "./systems/system.js";
export { AutoTokenizer, type AutoTokenizerOptions } from "./text/auto-tokenizer.js";
export { type BpeOptions, type TokenizerFiles, trainBpe } from "./text/bpe-trainer.js";
export { type ChatOptions, ChatTemplate, ChatTemplateError, type Message } from "./text/chat-template.js";
export type { MediaLength } from "./text/fit-parts.js";
export { fitParts, promptLength } from "./text/fit-parts.js";
export type { PromptTurn } from "./text/prompt.js";
export { type PromptOptions, type PromptPart, promptParts } from "./text/prompt.js";
export { SentencePieceError } from "./text/sentencepiece-model.js";
export type { SpliceOptions, TextPart } from "./text/splice.js";
export type { TokenizerGrowth } from "./text/tokenizer.js";
export {
  type DecodeOptions,
  type EncodeOptions,
  type TokenBatch,
  type TokenBatchOptions,
  Tokenizer,
} from "./text/tokenizer.js";
export { TokenizerError } from "./text/tokenizer-error.js";
export type { MicroBatch } from "./train/accumulation.js";
export { accumulate } from "./train/accumulation.js";
export { type AlignOptions, align } from "./train/align.js";
export type { Answering } from "./train/asked.js";
export { type BootstrapOptions, type BootstrapReport, bootstrap } from "./train/bootstrap.js";
export { type ContrastiveBatch, type ContrastiveOptions, contrastive } from "./train/contrastive.js";
export { ClipScorer, type ClipScorerOptions, type PairScorer, type ScoreFilterOptions, scoreFilter } from "./train/curation/clip-score.js";
export { type CurateOptions, type CurationReport, curate } from "./train/curation/curate.js";
export { type DuplicateOptions, duplicates } from "./train/curation/duplicates.js";
export { type EditPicturesOptions, editPictures, type PictureEdit } from "./train/curation/pictures.js";
export { REPAIR_INSTRUCTION, type RepairOptions, type RepairRule, readRules, repairBy, repairRules } from "./train/curation/repair.js";
export { asJudged, CurationSheet, type RowVerdict, readVerdicts } from "./train/curation/sheet.js";
export type { CurationItem, CurationPlace, CurationStep, CurationVerdict } from "./train/curation/step.js";
export type { Guard } from "./train/diverged.js";
export { type InstructOptions, instruct } from "./train/instruct.js";
export { type LanguageOptions, language, type TextRow } from "./train/language.js";
export { nearestTexts } from "./train/nearest-texts.js";
export { type OptimizeOptions, optimize, type StepLoss } from "./train/optimize.js";
export { AdamW, type AdamWOptions, decayMatricesOnly, type ParameterGroup } from "./train/optimizer.js";
export { type MemoryBreakdown, type MemorySetting, TrainingMemoryError } from "./train/out-of-memory.js";
export { Progress, type ProgressOptions, progressLine } from "./train/progress.js";
export type { RateGroup } from "./train/rates.js";
export type { InstructInput, LoraRecipe } from "./train/recipe.js";
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
export {
  type CauseKind,
  type ReplayCause,
  type ReplayDifference,
  type ReplayedValue,
  type ReplayOptions,
  type ReplayReport,
  replay,
} from "./train/replay/replay.js";
export { writeReport } from "./train/report/run-report.js";
export { type RepresentBatch, type RepresentOptions, represent } from "./train/represent.js";
export { type RepresentMediaOptions, representMedia } from "./train/represent-media.js";
export type { RepresentRecipe } from "./train/represent-recipe.js";
export type { ValidationReport } from "./train/run-log/reporter.js";
export type { ReportName } from "./train/run-log/reporters.js";
export type { Schedule } from "./train/schedule.js";
export * as schedules from "./train/schedule.js";
export { RecipeError } from "./train/schema.js";
export type { StageOptions } from "./train/stage.js";
export type { StepReport, TrainStep } from "./train/step-report.js";
export type { SweepPlan } from "./train/sweep/settings.js";
export { type SweepOptions, type SweepResult, type SweepRow, sweep } from "./train/sweep/sweep.js";
export { sweepChart, sweepTable } from "./train/sweep/table.js";
export type { DescribedMedium } from "./train/synthesis/described.js";
export { type Exchange, exchangesIn, SYNTHESIS_KINDS, type SynthesisKind, type SynthesisName } from "./train/synthesis/kinds.js";
export { type SynthesisPrompts, type SynthesisReport, type SynthesizeOptions, synthesize } from "./train/synthesis/synthesize.js";
export type { MediaTower, TextEncoder, Towers } from "./train/towers.js";
export type { Keeper, MicroLoss, Observer, RunNumbers, Standing, Stateful, Trainee, Windows } from "./train/trainee.js";
export { type TrainOptions, train } from "./train/trainer.js";
export type { MetricName, ValidationInput, ValidationRecipe } from "./train/validation/options.js";
