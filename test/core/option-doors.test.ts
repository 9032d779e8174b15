// Every public call that takes options refuses one that it does not know, and names the one that was probably meant.
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import * as anymal from "../../lib/index.js";
import { caseFolder, here } from "../case.js";
import { fresh, tiny } from "../models/tiny-clip.js";

// biome-ignore lint/suspicious/noExplicitAny: what JavaScript passes
type Any = any;

/** In a model's, a tensor's or a configuration's place: options are looked at first, so nothing of it is read. */
const unread: Any = {};
/** In a first stage's place: which model it is of is asked before the options are. */
const firstStage: Any = { model: unread };
const llama = caseFolder("llama2");
const nowhere = join(tmpdir(), "anymal-nowhere");
const device = here;
const ones = (...shape: number[]) => anymal.Tensor.full(shape, 1, { device });
const picture = { data: new Uint8Array(12), width: 2, height: 2 };
const part = anymal.image(picture);
const eeg = { name: "eeg", load: () => 1, blank: () => 0 };
const tokenizer = () => anymal.Tokenizer.fromPretrained(llama);

/** The call, the misspelt option, what it should have been, the type of its options, and the call with them. */
const DOORS: [call: string, typo: string, right: string, type: string, run: (options: Any) => unknown][] = [
  ["saveModel", "max_shard_bytes", "maxShardBytes", "SaveOptions", (o) => anymal.saveModel(nowhere, unread, {}, o)],
  ["exportMerged", "input_ids", "inputIds", "ExportOptions", (o) => anymal.exportMerged(unread, nowhere, {}, o)],
  ["LoraAdapter.apply", "sead", "seed", "", (o) => anymal.LoraAdapter.apply(unread, {}, o)],
  ["LoraAdapter.load", "is_trainable", "trainable", "AdapterLoading", (o) => anymal.LoraAdapter.load(unread, nowhere, o)],
  [
    "AnyMAL.assemble",
    "quantisation",
    "quantization",
    "AssembleOptions",
    (o) => anymal.AnyMAL.assemble({ llm: llama, modalities: {}, ...o }),
  ],
  ["AnyMAL.fromPretrained", "encoder", "encoders", "FromPretrainedOptions", (o) => anymal.AnyMAL.fromPretrained(nowhere, o)],
  ["AnyMAL.features", "sginal", "signal", "FeatureOptions", (o) => anymal.AnyMAL.prototype.features([], o)],
  ["AnyMAL.generate", "max_new_tokens", "maxNewTokens", "AnswerOptions", (o) => anymal.AnyMAL.prototype.generate("x", o).next()],
  ["AnyMAL.generateAll", "batches", "batch", "AnswerOptions", (o) => anymal.AnyMAL.prototype.generateAll(["x"], o)],
  ["AnyMAL.answers", "num_beams", "numBeams", "AnswerOptions", (o) => anymal.AnyMAL.prototype.answers(["x"], o)],
  ["beamSearch", "num_beams", "numBeams", "GenerationOptions", (o) => anymal.beamSearch(unread, unread, o)],
  ["AnyMAL.scoreAnswers", "ends", "end", "AnswerScoreOptions", (o) => anymal.AnyMAL.prototype.scoreAnswers(["x"], ["y"], o)],
  ["AnyMAL.nextLogProbs", "batches", "batch", "NextTokenOptions", (o) => anymal.AnyMAL.prototype.nextLogProbs(["x"], ["y"], o)],
  ["scoreContinuations", "batches", "batch", "ScoreOptions", (o) => anymal.scoreContinuations(unread, unread, [], o)],
  ["nextLogProbs", "sginal", "signal", "", (o) => anymal.nextLogProbs(unread, unread, [], o)],
  ["loadState", "Strict", "strict", "", (o) => anymal.ClipModel.prototype.loadState(new Map(), o)],
  ["SafetensorsFile.load", "Dtype", "dtype", "", (o) => anymal.SafetensorsFile.prototype.load("x", device, o)],
  ["GgufFile.load", "Shape", "shape", "", (o) => anymal.GgufFile.prototype.load("x", device, o)],
  ["TorchFile", "keys", "key", "TorchFileOptions", (o) => new anymal.TorchFile(join(caseFolder("torch-files"), "two.pt"), o)],
  ["TorchFile.load", "Dtype", "dtype", "", (o) => anymal.TorchFile.prototype.load("x", device, o)],
  ["convertCheckpoint", "max_shard_bytes", "maxShardBytes", "ConvertOptions", (o) => anymal.convertCheckpoint(nowhere, nowhere, o)],
  ["device", "thread", "threads", "DeviceOptions", (o) => anymal.device("cpu", o)],
  ["openDevice", "thread", "threads", "DeviceOptions", (o) => anymal.openDevice("cpu", o)],
  ["Tensor.from", "requires_grad", "requiresGrad", "TensorOptions", (o) => anymal.Tensor.from([1], [1], o)],
  ["Tensor.zeros", "Dtype", "dtype", "TensorOptions", (o) => anymal.Tensor.zeros([1], o)],
  ["backwardAsync", "slice_ms", "sliceMs", "", (o) => anymal.backwardAsync(unread, o)],
  ["Batches", "batch_size", "batchSize", "BatchOptions", (o) => new anymal.Batches(3, { batchSize: 1, ...o })],
  ["readCaptions", "on_bad_row", "onBadRow", "CaptionOptions", (o) => anymal.readCaptions(nowhere, o)],
  ["readConversations", "check_files", "checkFiles", "ConversationOptions", (o) => anymal.readConversations(nowhere, o)],
  ["readRows", "on_bad_row", "onBadRow", "RowsOptions", (o) => anymal.readRows(nowhere, o)],
  ["openRows", "on_bad_row", "onBadRow", "OpenRowsOptions", (o) => anymal.openRows(nowhere, { kind: "captions", ...o })],
  ["checkData", "max_length", "maxLength", "CheckDataOptions", (o) => anymal.checkData(nowhere, o)],
  ["curate", "step", "steps", "CurateOptions", (o) => anymal.curate(nowhere, { steps: [], ...o })],
  ["duplicates", "Distance", "distance", "DuplicateOptions", (o) => anymal.duplicates(o)],
  ["ClipScorer", "token", "tokens", "ClipScorerOptions", (o) => anymal.ClipScorer.fromPretrained(nowhere, { device, ...o })],
  ["scoreFilter", "onscore", "onScore", "ScoreFilterOptions", (o) => anymal.scoreFilter(unread, { least: 0, ...o })],
  ["editPictures", "folders", "folder", "EditPicturesOptions", (o) => anymal.editPictures(() => undefined, o)],
  ["repairRules", "replaces", "replace", "RepairRule", (o) => anymal.repairRules([{ pattern: /x/, ...o }])],
  ["repairBy", "instructions", "instruction", "RepairOptions", (o) => anymal.repairBy(unread, o)],
  ["checkFile", "max_length", "maxLength", "CheckFileOptions", (o) => anymal.checkFile(nowhere, o)],
  ["checkRows", "tokeniser", "tokenizer", "CheckOptions", (o) => anymal.checkRows([], o)],
  ["FeatureCache", "max_bytes", "maxBytes", "FeatureCacheOptions", (o) => new anymal.FeatureCache(o)],
  ["featureKey", "sginal", "signal", "", (o) => anymal.featureKey(part, "x", o)],
  ["folderFingerprint", "sginal", "signal", "", (o) => anymal.folderFingerprint(nowhere, o)],
  ["writeWorld", "heldOut", "heldout", "WorldOptions", (o) => anymal.writeWorld(nowhere, { seed: 0, train: {}, heldout: {}, ...o })],
  ["writeWorld", "images", "image", "WorldCounts", (o) => anymal.writeWorld(nowhere, { seed: 0, train: o, heldout: {} })],
  ["scoreCaptions", "tokenise", "tokenize", "CaptionScoring", (o) => anymal.scoreCaptions([], o)],
  ["blank", "sginal", "signal", "", (o) => anymal.blank(part, o)],
  ["derange", "answer", "answers", "DerangeOptions", (o) => anymal.derange(3, o)],
  ["hubSettings", "timeout_ms", "timeoutMs", "HubSettings", (o) => anymal.hubSettings({}, o)],
  ["resolveModel", "revison", "revision", "ResolveOptions", (o) => anymal.resolveModel(nowhere, o)],
  ["audio", "max_seconds", "maxSeconds", "AudioOptions", (o) => anymal.audio(nowhere, o)],
  ["image", "maxPixel", "maxPixels", "ImageOptions", (o) => anymal.image(nowhere, o)],
  ["video", "FPS", "fps", "VideoOptions", (o) => anymal.video(nowhere, o)],
  ["imu", "sample_rate", "sampleRate", "ImuOptions", (o) => anymal.imu(nowhere, o)],
  ["mediaKind", "caption_prompts", "captionPrompts", "MediaKindOptions", (o) => anymal.mediaKind({ ...eeg, ...o })],
  ["a part of one's own kind", "maxByte", "maxBytes", "OwnOptions", (o) => anymal.mediaKind(eeg)("x", o)],
  ["a part by hand", "maxPixel", "maxPixels", "ImageOptions", (o) => anymal.loadImage({ modality: "image", source: picture, options: o })],
  ["a sound by hand", "Start", "start", "AudioOptions", (o) => anymal.loadAudio({ modality: "audio", source: nowhere, options: o })],
  ["a video by hand", "second", "seconds", "VideoOptions", (o) => anymal.loadVideo({ modality: "video", source: nowhere, options: o }, 1)],
  ["a recording by hand", "axis", "axes", "ImuOptions", (o) => anymal.loadImu({ modality: "imu", source: nowhere, options: o })],
  ["media of captions", "Axes", "axes", "MediaOptions", (o) => anymal.readCaptions(nowhere, { media: { imu: o } })],
  ["media of captions", "images", "image", "MediaOptions", (o) => anymal.readCaptions(nowhere, { media: o })],
  ["loadImage", "sginal", "signal", "Loading", (o) => anymal.loadImage(part, o)],
  ["loadAudio", "sginal", "signal", "Loading", (o) => anymal.loadAudio(anymal.audio(nowhere), o)],
  ["loadVideo", "sginal", "signal", "Loading", (o) => anymal.loadVideo(anymal.video(nowhere), 1, o)],
  ["loadImu", "sginal", "signal", "Loading", (o) => anymal.loadImu(anymal.imu(nowhere), o)],
  ["loadImuAt", "sginal", "signal", "Loading", (o) => anymal.loadImuAt(anymal.imu(nowhere), 50, o)],
  ["soundOf", "sginal", "signal", "Loading", (o) => anymal.soundOf(anymal.video(nowhere), o)],
  ["ImageProcessor.process", "sginal", "signal", "Loading", (o) => new anymal.ImageProcessor({}, "x").process([part], o)],
  ["ImuProcessor.process", "sginal", "signal", "Loading", (o) => new anymal.ImuProcessor().process([], o)],
  ["AudioProcessor.process", "sginal", "signal", "Loading", (o) => new anymal.AudioProcessor().process([], o)],
  ["AudioProcessor", "crop", "crops", "AudioProcessorOptions", (o) => new anymal.AudioProcessor({}, "x", o)],
  ["AudioProcessor.features", "crop", "crops", "", (o) => new anymal.AudioProcessor().features([], o)],
  ["AutoProcessor.fromPretrained", "revison", "revision", "AutoProcessorOptions", (o) => anymal.AutoProcessor.fromPretrained(nowhere, o)],
  ["VideoProcessor.fromPretrained", "frame", "frames", "VideoProcessorOptions", (o) => anymal.VideoProcessor.fromPretrained(nowhere, o)],
  ["AutoTokenizer.fromPretrained", "revison", "revision", "AutoTokenizerOptions", (o) => anymal.AutoTokenizer.fromPretrained(nowhere, o)],
  ["Tokenizer.load", "sginal", "signal", "", (o) => anymal.Tokenizer.load(llama, o)],
  ["Tokenizer.encode", "add_special_tokens", "addSpecialTokens", "EncodeOptions", (o) => tokenizer().encode("x", o)],
  ["Tokenizer.decode", "skip_special_tokens", "skipSpecialTokens", "DecodeOptions", (o) => tokenizer().decode([1], o)],
  ["Tokenizer.encodeBatch", "padding_side", "side", "TokenBatchOptions", (o) => tokenizer().encodeBatch(["x"], o)],
  ["ChatTemplate.render", "add_generation_prompt", "addGenerationPrompt", "ChatOptions", (o) => new anymal.ChatTemplate("x").render([], o)],
  ["promptParts", "onNotices", "onNotice", "PromptOptions", (o) => anymal.promptParts(tokenizer(), [], o)],
  ["AutoEncoder.fromPretrained", "devcie", "device", "AutoEncoderOptions", (o) => anymal.AutoEncoder.fromPretrained(nowhere, o)],
  ["AutoModelForCausalLM", "torch_dtype", "dtype", "AutoModelOptions", (o) => anymal.AutoModelForCausalLM.fromPretrained(nowhere, o)],
  ["its quantization", "double_quant", "doubleQuant", "Quantization", (o) => loaded({ quantization: { format: "nf4", ...o } })],
  ["LlamaForCausalLM", "torch_dtype", "dtype", "PretrainedOptions", (o) => anymal.LlamaForCausalLM.fromPretrained(llama, { device, ...o })],
  ["llamaFromGguf", "Trainable", "trainable", "PretrainedOptions", (o) => anymal.llamaFromGguf(nowhere, { device, ...o })],
  ["ClipModel", "torch_dtype", "dtype", "EncoderLoading", (o) => anymal.ClipModel.fromPretrained(nowhere, { device, ...o })],
  ["ClipTextModel", "torch_dtype", "dtype", "EncoderLoading", (o) => anymal.ClipTextModel.fromPretrained(nowhere, { device, ...o })],
  ["ClipVisionModel.forward", "layers", "layer", "EncoderOptions", (o) => clip().forward(ones(1, 3, 8, 8), o)],
  ["Weights.fresh", "sead", "seed", "FreshOptions", (o) => anymal.Weights.fresh({ device, ...o })],
  [
    "KVCache",
    "head_dim",
    "headDim",
    "CacheOptions",
    (o) => new anymal.KVCache(device, { layers: 1, batch: 1, length: 1, kvHeads: 1, headDim: 1, ...o }),
  ],
  [
    "LinearProjector",
    "dim_llm",
    "dimLlm",
    "LinearProjectorConfig",
    (o) => new anymal.LinearProjector(fresh(), { ...unread, dim: 2, ...o }),
  ],
  [
    "ResamplerProjector",
    "normalise",
    "normalize",
    "ResamplerProjectorOptions",
    (o) => new anymal.ResamplerProjector(fresh(), unread, 2, o),
  ],
  ["Resampler", "dim_head", "dimHead", "ResamplerConfig", (o) => new anymal.Resampler(fresh(), { ...unread, form: "flamingo", ...o })],
  ["attention", "is_causal", "causal", "AttentionOptions", (o) => anymal.attention(...threeTensors(), o)],
  ["adamwClipped", "max_norm", "maxNorm", "AdamWClippedOptions", (o) => anymal.adamwClipped([], o)],
  ["conv1d", "strides", "stride", "Conv1dOptions", (o) => anymal.conv1d(ones(1, 1, 4), ones(1, 1, 2), undefined, o)],
  ["conv2d", "pading", "padding", "Conv2dOptions", (o) => anymal.conv2d(ones(1, 1, 4, 4), ones(1, 1, 2, 2), undefined, o)],
  ["interpolateBicubic", "align_corners", "alignCorners", "BicubicOptions", (o) => anymal.interpolateBicubic(ones(1, 1, 4, 4), 2, 2, o)],
  ["headCrossEntropy", "ignored", "ignore", "HeadCrossEntropyOptions", (o) => anymal.headCrossEntropy(ones(1, 2), ones(2, 2), ones(1), o)],
  ["AdamW", "weight_decay", "weightDecay", "AdamWOptions", (o) => new anymal.AdamW([], o)],
  ["train", "lr", "learningRate", "TrainOptions", (o) => anymal.train({ parameters: [] } as never, {} as never, o as never).next()],
  ["a group of AdamW", "lr", "lrScale", "ParameterGroup", (o) => new anymal.AdamW([{ parameters: [], ...o }])],
  ["align", "learning_rate", "learningRate", "AlignOptions", (o) => anymal.align(model(), { modality: "image", data: [], ...o }).next()],
  ["align", "microbatch", "microBatch", "StageOptions", (o) => anymal.align(model(), { modality: "image", data: [], ...o }).next()],
  ["instruct", "learning_rate", "learningRate", "InstructOptions", (o) => anymal.instruct(model(), { data: [], ...o }).next()],
  ["linearQuantizedLora", "scale", "scaling", "LoraOptions", (o) => anymal.linearQuantizedLora(unread, unread, unread, unread, o)],
  ["optimize", "learning_rate", "learningRate", "OptimizeOptions", (o) => anymal.optimize([], unread, o).next()],
  ["language", "batches", "batch", "LanguageOptions", (o) => anymal.language(unread, o).next()],
  ["replay", "untill", "until", "ReplayOptions", (o) => anymal.replay(nowhere, o)],
  ["represent", "sead", "seed", "RepresentOptions", (o) => anymal.represent(unread, o).next()],
  [
    "representMedia",
    "learning_rate",
    "learningRate",
    "RepresentMediaOptions",
    (o) => anymal.representMedia(firstStage, { data: [], ...o }).next(),
  ],
  ["FirstStage.fromPretrained", "encoder", "encoders", "StoredFirstStageOptions", (o) => anymal.FirstStage.fromPretrained(nowhere, o)],
  ["FirstStage.assemble", "tokenizer", "words", "FirstStageOptions", (o) => anymal.FirstStage.assemble({ encoder: "x", words: "x", ...o })],
  ["ImuVitModel.forward", "rate", "rates", "ImuVitOptions", (o) => anymal.ImuVitModel.prototype.forward(ones(1, 6, 8), o)],
  ["contrastive", "logit_scale", "logitScale", "ContrastiveOptions", (o) => anymal.contrastive(o).next()],
  ["trainBpe", "vocab_size", "vocabSize", "BpeOptions", (o) => anymal.trainBpe([], o)],
  ["askHeldOut", "kind", "kinds", "HeldOutOptions", (o) => anymal.askHeldOut(unread, [], o)],
  ["answerTask", "control", "controls", "AnswerTaskOptions", (o) => anymal.answerTask(unread, "mme", { data: nowhere, ...o })],
  ["scorePredictions", "prompt", "prompts", "ScoringOptions", (o) => anymal.scorePredictions(nowhere, o)],
  ["writeJudgeSheet", "counts", "count", "JudgeSheetOptions", (o) => anymal.writeJudgeSheet(nowhere, nowhere, nowhere, o)],
  ["writeResults", "sources", "source", "WriteResultsOptions", (o) => anymal.writeResults(unread, nowhere, o)],
  ["plan", "row", "rows", "PlanOptions", (o) => anymal.plan({}, o)],
  ["resolveData", "splits", "split", "HubDataOptions", (o) => anymal.resolveData("nobody/nothing", o)],
  ["boxShares", "squares", "square", "BoxOptions", (o) => anymal.boxShares([0, 0, 1, 1], { width: 2, height: 2 }, o)],
  ["scoreGrounding", "treshold", "threshold", "GroundingOptions", (o) => anymal.scoreGrounding([], o)],
  ["supported", "vocabularies", "vocabulary", "SupportedOptions", (o) => anymal.supported([], [], o)],
  ["readAnnotations", "besides", "beside", "AnnotationOptions", (o) => anymal.readAnnotations(nowhere, o).next()],
  ["referential", "sead", "seed", "ReferentialOptions", (o) => anymal.referential(unread, o)],
  ["writeReferential", "image", "images", "WriteReferentialOptions", (o) => anymal.writeReferential(nowhere, nowhere, o)],
  ["bootstrap", "image", "images", "BootstrapOptions", (o) => anymal.bootstrap(unread, o)],
  ["synthesize", "kind", "kinds", "SynthesizeOptions", (o) => anymal.synthesize(unread, o)],
  ["synthesize: sampling", "top_p", "topP", "", (o) => anymal.synthesize(unread, { output: nowhere, sampling: o })],
  ["LinearClassifier.fit", "epoch", "epochs", "ClassifierOptions", (o) => anymal.LinearClassifier.fit([], o)],
  ["sweep", "outputs", "output", "SweepOptions", (o) => anymal.sweep(unread, o)],
  ["writeMimicIt", "shot", "shots", "MimicItOptions", (o) => anymal.writeMimicIt(nowhere, nowhere, nowhere, o)],
  ["ClipPoolProjector", "dim_llm", "dimLlm", "ClipPoolConfig", (o) => new anymal.ClipPoolProjector(fresh(), { ...unread, dim: 2, ...o })],
  ["Linear", "Bias", "bias", "LinearLayerOptions", (o) => new anymal.Linear(fresh(), 2, 2, o)],
  ["Progress", "lable", "label", "ProgressOptions", (o) => new anymal.Progress(o)],
  ["schedules.cosine", "num_training_steps", "totalSteps", "", (o) => anymal.schedules.cosine(o)],
  ["schedules.constant", "warmup_steps", "warmupSteps", "", (o) => anymal.schedules.constant(o)],
];
const threeTensors = () => [ones(1, 2, 1, 2), ones(1, 2, 1, 2), ones(1, 2, 1, 2)] as const;
const loaded = (options: Any) => anymal.AutoModelForCausalLM.fromPretrained(llama, { device, ...options });
const clip = () => new anymal.ClipVisionModel(fresh(), tiny.vision);
const model = (): Any => ({ llm: {}, encoder: () => ({}), modalities: ["image"] });

for (const [call, typo, right, , run] of DOORS)
  test(`${call}: ${typo}`, async () => {
    const error = await Promise.resolve({ [typo]: 1 })
      .then(run)
      .then(
        () => undefined,
        (e) => e,
      );
    assert.ok(error instanceof anymal.AnymalError, `not refused: ${error?.stack}`);
    assert.ok(error.message.includes(typo) && new RegExp(`\\b${right}\\b`).test(error.message), error.message);
  });

/** Seen in options.test.ts. */
const ELSEWHERE = [
  "AnswerOptions",
  "ModalityOptions",
  "ProjectorOptions",
  "AdapterOptions",
  "LinearOptions",
  "ResamplerOptions",
  "MlpOptions",
  "ConcatLinearOptions",
  "QFormerOptions",
  "ClipPoolOptions",
  "LlamaOptions",
];
/** Made of others here, and checked with them. */
const INHERITED = [
  ...["AnyMALNetworkOptions", "ClapAudioOptions", "VideoMaeOptions", "SpliceOptions", "LoadOptions", "AddAdapterOptions"],
  ...["GenerationOptions", "SamplerOptions", "SamplingOptions", "TextOptions", "OwnModalityOptions"],
  ...["MediaFileOptions", "BadRowOptions", "CheckpointOptions", "OutlineOptions", "GeneratingOptions"],
];

test("no public type of options is forgotten", () => {
  const names = readFileSync(new URL("../fixtures/public-names.txt", import.meta.url), "utf8");
  const types = new Set(Array.from(names.matchAll(/\b(\w+(?:Options|Loading))\b/g), ([, name]) => name as string));
  const seen = new Set([...DOORS.map(([, , , type]) => type), ...ELSEWHERE, ...INHERITED]);
  assert.ok(types.size > 40);
  assert.equal(
    [...types].filter((name) => !seen.has(name)),
    [],
  );
});

test.run();
