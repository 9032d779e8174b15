// What a folder is: a language model, an encoder, a trained model of anymal, a PEFT adapter; and the facts of each that a user asks for.
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { adapterKindOf } from "../adapters/load-adapter.js";
import { parseLoraConfig } from "../adapters/lora-config.js";
import { TRAINED } from "../anymal/checkpoint.js";
import { checkpointFolder, MANIFEST, type Manifest, readManifest } from "../anymal/manifest.js";
import { DEFAULT_ADAPTER } from "../anymal/parts.js";
import { shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import { onFileSync } from "../core/file-error.js";
import { Checkpoint } from "../io/checkpoint.js";
import { GgufCheckpoint } from "../io/gguf-checkpoint.js";
import { TorchFile } from "../io/torch-file.js";
import { describeBridge } from "../models/bridges/index.js";
import { type Json, readConfig, readJson } from "../models/config.js";
import type { DecoderConfig } from "../models/decoder-config.js";
import { familyOf, readDecoderConfig } from "../models/decoder-families.js";
import type { LlamaConfig } from "../models/llama-config.js";
import { ggufConfig } from "../models/llama-gguf.js";
import { DECODER_TYPES, MODEL_TYPES, modelType } from "../models/model-types.js";
import type { MptConfig } from "../models/mpt-config.js";
import { readOpenClipConfig } from "../models/open-clip-config.js";
import type { OptConfig } from "../models/opt-config.js";
import { refused } from "../models/refused-types.js";
import { publishedPieces } from "../systems/layouts/index.js";
import { Tokenizer } from "../text/tokenizer.js";
import { factsOf, type StorageName, sizes, type WeightFacts, weightFacts } from "./inspect-weights.js";

/** Label and value, in the order in which they are shown. */
type Facts = [string, string | number][];

export interface Inspected {
  kind: "language model" | "encoder" | "multimodal model" | "trained model" | "adapter" | "weights";
  path: string;
  /** One line. */
  about: string;
  facts: Facts;
  weights?: WeightFacts;
  /** Bytes in memory by storage. */
  sizes?: Partial<Record<StorageName, number>>;
}

/** Reads headers and configurations, never weights. Throws E_FILE where there is nothing that anymal reads, with what would be. */
export async function inspectFolder(path: string): Promise<Inspected> {
  if (!existsSync(path)) throw expected("E_FILE", path, "a folder of a model", "no such file or folder", "check the path");
  if (!onFileSync("to be read", path, () => statSync(path)).isDirectory()) return oneFile(path);
  const has = (name: string) => existsSync(join(path, name));
  if ([MANIFEST, join("checkpoint", MANIFEST), join("checkpoint.old", MANIFEST)].some(has)) return trained(path);
  if (has("adapter_config.json")) return adapter(path);
  if (!has("config.json") && readOpenClipConfig(path)) return encoder(path, "OpenCLIP", "image", {});
  if (!has("config.json")) throw nothing(path);
  const config = readConfig(path);
  const type = config.model_type;
  const kind = modelType(config)?.kind;
  if (kind === "decoder") return languageModel(path, String(type), config);
  if (kind === "whole") return whole(path, config);
  for (const part of [config, config.vision_config, config.audio_config] as (Json | undefined)[]) {
    const found = part && typeof part === "object" ? modelType(part) : undefined;
    if (found?.kind === "encoder")
      return encoder(path, found.name, found.takes, part === config ? (towerOf(config) ?? config) : (part as Json));
  }
  throw (
    refused(config) ??
    expected(
      "E_FILE",
      path,
      `a model_type of a language model (${DECODER_TYPES.join(", ")}) or of an encoder (${typesOf("encoder").join(", ")}) or of both (${typesOf("whole").join(", ")})`,
      type === undefined ? "none in config.json" : shown(type),
      "anymal does not know this architecture",
    )
  );
}

function nothing(path: string) {
  const names = onFileSync("to be read", path, () => readdirSync(path)).filter((name) => !name.startsWith("."));
  const held = names.length ? names.slice(0, 6).join(", ") + (names.length > 6 ? `, … (${names.length})` : "") : "nothing";
  return expected(
    "E_FILE",
    path,
    `a model's config.json, a trained model's ${MANIFEST}, or adapter_config.json of PEFT`,
    `a folder with ${held}`,
    "fetch the whole folder; of a training run, name the run's folder",
  );
}

function oneFile(path: string): Inspected {
  if (path.endsWith(".gguf")) return gguf(path);
  if (/\.(bin|pt|pth|ckpt)$/.test(path)) return pickled(path);
  if (!path.endsWith(".safetensors"))
    throw expected(
      "E_FILE",
      path,
      "a folder of a model, or a file in safetensors or GGUF format or of torch.save",
      "another file",
      `inspect its folder: ${dirname(path)}`,
    );
  const weights = weightFacts(path);
  return { kind: "weights", path, about: "tensors in safetensors format", facts: [], weights };
}

function pickled(path: string): Inspected {
  using file = new TorchFile(path);
  const facts: Facts = [
    ...(file.key ? ([["tensors at", file.key]] as Facts) : []),
    ["to use it", "anymal convert writes it as a folder in safetensors"],
  ];
  return { kind: "weights", path, about: `tensors in a file of torch.save (${file.form})`, facts, weights: factsOf(file, [path]) };
}

function gguf(path: string): Inspected {
  using checkpoint = new GgufCheckpoint(path);
  const weights = factsOf(checkpoint, [path]);
  const { values } = checkpoint.file;
  const name = values.get("general.name");
  const facts: Facts = [
    ["architecture", checkpoint.architecture],
    ...(typeof name === "string" ? ([["name", name]] as Facts) : []),
    ...shapesOf(ggufConfig(checkpoint)),
    ["tokenizer", values.has("tokenizer.ggml.model") ? "in the file" : NO_TOKENIZER],
    ["chat template", values.has("tokenizer.chat_template") ? "in the file" : "none"],
  ];
  const stored = [...new Set(weights.groups.filter(({ name }) => LINEAR.test(name)).map(({ dtype }) => dtype))].join(", ");
  const about = `language model of ${count(weights.parameters)} parameters, GGUF, linear layers in ${stored}`;
  return { kind: "language model", path, about, facts, weights, sizes: sizes(weights.groups, (name) => LINEAR.test(name)) };
}

const typesOf = (kind: string): string[] => Object.keys(MODEL_TYPES).filter((name) => MODEL_TYPES[name]?.kind === kind);

/** A language model with what it sees through, by the layout that its names are in. */
function whole(path: string, json: Json): Inspected {
  const weights = weightFacts(path);
  const processor = existsSync(join(path, "processor_config.json")) ? readJson(join(path, "processor_config.json")) : {};
  using file = Checkpoint.open(path);
  const pieces = publishedPieces(file, json, processor);
  const tokenizer = pieces.as && tokenizerOf(path) !== NO_TOKENIZER ? Tokenizer.fromPretrained(path) : undefined;
  const { system, layout, llm, media, adapters = [] } = (tokenizer && pieces.as?.(tokenizer)) ?? pieces;
  const facts: Facts = [
    ["system", system],
    ["layout", layout],
  ];
  for (const [modality, { encoder, setup, rows, token }] of Object.entries(media)) {
    facts.push([`${modality} encoder`, "named" in encoder ? `${encoder.named}, by itself` : encoderName(encoder.config)]);
    facts.push([modality, describeBridge(setup.projector)]);
    facts.push(["hidden states", `${[setup.layer].flat().join(", ")}, ${setup.select === "all" ? "class row too" : "patches alone"}`]);
    facts.push([
      `rows of ${modality}`,
      `${rows ?? "as its encoder says"}, ${setup.projector.gives === "beside" ? "beside the text, at" : "in the place of"} ${token}`,
    ]);
  }
  for (const { name, kind, config } of adapters) facts.push([`adapter ${name ?? kind}`, saidOf(config)]);
  if (!("named" in llm)) facts.push(...shapesOf(familyOf(llm.config).parse(llm.config)));
  facts.push(["tokenizer", tokenizerOf(path)]);
  const about = `${system} of ${count(weights.parameters)} parameters for ${Object.keys(media).join(", ")}, in the layout ${layout}`;
  return { kind: "multimodal model", path, about, facts, weights, sizes: sizes(weights.groups) };
}

/** Options in a line: { every: 2, form: "idefics" } → "every 2, form idefics". */
const saidOf = (config: object): string =>
  Object.entries(config)
    .map(([key, value]) => `${key.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`)} ${Array.isArray(value) ? value.join(" ") : value}`)
    .join(", ");

const encoderName = (config: Json): string => {
  const type = modelType(config);
  if (type?.kind !== "encoder") return shown(config.model_type);
  if (config.image_size === undefined) return type.name;
  return `${type.name}, ${config.image_size} by ${config.image_size} in patches of ${config.patch_size}`;
};

const LINEAR =
  /^(model\.layers\.\*\.(self_attn|mlp)\.\w+_proj|(model\.)?decoder\.layers\.\*\.(self_attn\.\w+_proj|fc[12])|(transformer\.)?blocks\.\*\.(attn\.(Wqkv|out_proj)|ffn\.\w+_proj))\.weight$/;

function languageModel(path: string, type: string, json: Json): Inspected {
  const c = readDecoderConfig(path);
  const weights = weightFacts(path);
  const quantization = json.quantization_config as Json | undefined;
  const facts: Facts = [
    ["architecture", [json.architectures].flat()[0] === undefined ? type : `${[json.architectures].flat()[0]} (${type})`],
    ...shapesOf(c),
    ["tokenizer", tokenizerOf(path)],
  ];
  if (quantization) facts.push(["quantised", quantisedAs(quantization)]);
  const about = `language model of ${count(weights.parameters)} parameters${quantization ? `, stored in ${quantisedAs(quantization)}` : ""}`;
  return { kind: "language model", path, about, facts, weights, sizes: sizes(weights.groups, (name) => LINEAR.test(name)) };
}

function shapesOf(c: DecoderConfig & Partial<LlamaConfig & OptConfig & MptConfig>): Facts {
  const heads = c.kvHeads === c.heads ? `${c.heads}` : `${c.heads}, ${c.kvHeads} of keys and values`;
  const scaling = c.ropeScaling?.type;
  const rotary = `RoPE, theta ${c.ropeTheta}${scaling === "default" ? "" : `, scaling ${scaling}`}`;
  const narrow = c.embedWidth === undefined || c.embedWidth === c.hiddenSize ? "" : `, embeddings ${c.embedWidth}`;
  return [
    ["layers", c.layers],
    ["width", `${c.hiddenSize}, feed-forward ${c.intermediateSize}${narrow}`],
    ["heads", `${heads}, of ${c.headDim}`],
    ["vocabulary", c.vocabSize],
    ["context", `${c.maxPositions} tokens${c.slidingWindow ? `, window ${c.slidingWindow}` : ""}`],
    ["positions", scaling ? rotary : c.alibiMost ? "none: ALiBi" : "learned"],
    ["head", c.tieWordEmbeddings ? "tied to the embedding" : "its own"],
  ];
}

const NO_TOKENIZER = "none: it cannot be asked in words";
function tokenizerOf(path: string): string {
  const file = ["tokenizer.json", "tokenizer.model", "merges.txt"].find((name) => existsSync(join(path, name)));
  return file ?? NO_TOKENIZER;
}

function quantisedAs(config: Json): string {
  if (config.quant_method !== "bitsandbytes") return `${config.quant_method}, which anymal does not read`;
  if (config.load_in_8bit) return `int8, outliers from ${config.llm_int8_threshold ?? 6}`;
  return `${config.bnb_4bit_quant_type ?? "fp4"}${config.bnb_4bit_use_double_quant ? " with double quantisation" : ""}`;
}

/** Of a model of two towers, the part that describes the encoder. */
const towerOf = (config: Json): Json | undefined => (config.vision_config ?? config.audio_config) as Json | undefined;

function encoder(path: string, name: string, modality: string, config: Json): Inspected {
  const own = join(path, "open_clip_model.safetensors");
  const file = existsSync(own) && !existsSync(join(path, "model.safetensors")) ? own : path;
  const weights = weightFacts(file, (tensor) => !OTHER_TOWER.test(tensor));
  const facts: Facts = [
    ["architecture", name],
    ["takes", modality],
  ];
  for (const [label, key] of KEYS)
    if (config[key] !== undefined && !facts.some(([told]) => told === label)) facts.push([label, String(config[key])]);
  const processor = ["preprocessor_config.json", "processor_config.json"].find((file) => existsSync(join(path, file)));
  facts.push(["processor", processor ?? "none: defaults of its kind"]);
  const about = `encoder of ${modality} (${name}), ${count(weights.parameters)} parameters`;
  return { kind: "encoder", path, about, facts, weights, sizes: sizes(weights.groups) };
}
/** Of what stands beside it, a text tower, a decoder or a language model, in the spellings of transformers and OpenCLIP. */
const OTHER_TOWER =
  /^(text_model|text_projection|text|transformer|token_embedding|positional_embedding|ln_final|logit_scale|logit_bias|proj_out|(model\.)?(decoder|language_model|multi_modal_projector|lm_head))(\.|$)/;
const KEYS: readonly [string, string][] = [
  ["layers", "num_hidden_layers"],
  ["layers", "encoder_layers"],
  ["depths", "depths"],
  ["width", "hidden_size"],
  ["width", "d_model"],
  ["heads", "num_attention_heads"],
  ["heads", "encoder_attention_heads"],
  ["mel bins", "num_mel_bins"],
  ["rows of a chunk", "max_source_positions"],
  ["window", "window_samples"],
  ["rate in Hz", "sampling_rate"],
  ["image", "image_size"],
  ["patch", "patch_size"],
  ["frames", "num_frames"],
];

function adapter(path: string): Inspected {
  const json = readJson(join(path, "adapter_config.json"));
  const kind = adapterKindOf(json, path);
  const file = join(path, kind.files.weights);
  const weights = weightFacts(existsSync(file) ? file : path);
  if (kind.name !== "lora") return otherAdapter(path, kind.name, kind.read(json), weights);
  const config = parseLoraConfig(json);
  const targets = typeof config.targetModules === "string" ? config.targetModules : config.targetModules.join(", ");
  const facts: Facts = [
    ["rank", `${config.r}${patterns(config.rankPattern)}`],
    ["alpha", `${config.alpha}${patterns(config.alphaPattern)}${config.rsLora ? ", rank-stabilised" : ""}`],
    ["dropout", config.dropout],
    ["on", targets],
    ["base model", config.baseModel ?? "not said"],
  ];
  if (config.modulesToSave.length) facts.push(["whole modules", config.modulesToSave.join(", ")]);
  if (config.bias !== "none") facts.push(["biases", config.bias]);
  const about = `LoRA adapter in PEFT's format, rank ${config.r}, ${count(weights.parameters)} parameters`;
  return { kind: "adapter", path, about, facts, weights, sizes: sizes(weights.groups) };
}
/** Of a kind without facts of its own: its options, those that say something. */
function otherAdapter(path: string, kind: string, config: object, weights: ReturnType<typeof weightFacts>): Inspected {
  const said = Object.entries(config).filter(([key, value]) => key !== "baseModel" && value !== undefined && String(value) !== "");
  const facts: Facts = said.map(([key, value]) => [
    key.replace(/[A-Z]/g, (c) => ` ${c.toLowerCase()}`),
    Array.isArray(value) ? value.join(", ") : String(value),
  ]);
  facts.push(["base model", (config as { baseModel?: string }).baseModel ?? "not said"]);
  return {
    kind: "adapter",
    path,
    about: `adapter of kind ${kind}, ${count(weights.parameters)} parameters`,
    facts,
    weights,
    sizes: sizes(weights.groups),
  };
}
const patterns = (by: Readonly<Record<string, number>>): string =>
  Object.entries(by)
    .map(([pattern, value]) => `; ${pattern}: ${value}`)
    .join("");

async function trained(given: string): Promise<Inspected> {
  const path = checkpointFolder(given);
  const manifest = await readManifest(path);
  const facts: Facts = [["language model", `${whereIs(path, manifest.llm)}, ${heldIn(manifest)}`]];
  let parameters = 0;
  for (const [modality, { encoder: from, projector, calibrated }] of Object.entries(manifest.modalities)) {
    const weights = weightFacts(join(path, "projectors", `${modality}.safetensors`));
    parameters += weights.parameters;
    facts.push([
      modality,
      `${describeBridge(projector)}, ${count(weights.parameters)} parameters${calibrated ? "" : ", never calibrated"}`,
    ]);
    facts.push([`${modality} encoder`, whereIs(path, from)]);
  }
  for (const { name, on, folder } of manifest.adapters) {
    const { about, weights } = adapter(join(path, folder));
    parameters += weights?.parameters ?? 0;
    facts.push([name === DEFAULT_ADAPTER ? "adapter" : `adapter ${name}`, on === "llm" ? about : `${about}, on the encoder of ${on}`]);
  }
  if (manifest.trained) {
    const { parameters: own } = weightFacts(join(path, TRAINED));
    parameters += own;
    facts.push(["trained of the language model", `${count(own)} parameters`]);
  }
  facts.push(["prompts", manifest.prompt.template === "chat" ? "the tokenizer's chat template" : "plain"]);
  const parts = ["projections", ...(manifest.adapters.length ? ["LoRA"] : []), ...(manifest.trained ? ["language model"] : [])];
  const stage = parts.join(parts.length > 2 ? ", " : " and ");
  const about = `trained model of anymal (${stage}) for ${Object.keys(manifest.modalities).join(", ")}, ${count(parameters)} trained parameters`;
  return { kind: "trained model", path, about, facts };
}

function whereIs(checkpoint: string, reference: object): string {
  if ("own" in reference) return `the user's own, "${reference.own}"`;
  if ("id" in reference && typeof reference.id === "string") return reference.id;
  const folder = resolve(checkpoint, (reference as { path: string }).path);
  return existsSync(folder) ? folder : `${folder}, which is not there now`;
}

function heldIn({ llm: { quantization, dtype } }: Manifest): string {
  return quantization ? `${quantization.format}${quantization.doubleQuant ? " with double quantisation" : ""}, ${dtype}` : dtype;
}

/** 6.74 G, 125 M, 4321 */
export function count(n: number): string {
  for (const [unit, size] of [
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e4],
  ] as const)
    if (n >= size) return `${(n / (unit === "k" ? 1e3 : size)).toPrecision(3)} ${unit}`;
  return String(n);
}
