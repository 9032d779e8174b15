// BLIP-2 and InstructBLIP (transformers' Blip2ForConditionalGeneration and InstructBlipForConditionalGeneration): EVA's tower, a Q-Former with its queries and a
// linear layer, and below language_model. a causal language model of whatever family under the names of a folder of its own. Each of a file's tensors belongs to
// exactly one of them.
import type { WeightSource } from "../../io/checkpoint.js";
import { QUESTION_FOLDER } from "../../io/model-files.js";
import { left, renamed, type View, within } from "../../io/views.js";
import { completeBridge } from "../../models/bridges/index.js";
import { DROPOUT, type QFormerOptions } from "../../models/bridges/q-former.js";
import { activationKind, ConfigError, flag, headsOf, id, type Json, number, section, size, storedDType } from "../../models/config.js";
import { checkKeys } from "../../models/config-keys.js";
import { textConfig } from "../../models/decoder.js";
import { epsOf, layersOf, widthOf } from "../../models/encoder-config.js";
import { describe, StateError } from "../../nn/module.js";
import type { Published } from "../published.js";
import { mmiclOf } from "./mmicl.js";

const TOWER = "vision_model";
const LLM = "language_model";
const BRIDGE = /^(query_tokens$|qformer\.|language_projection\.)/;

/** They follow from the configuration. */
const BUFFERS = /(^|\.)(position_ids|rotary_emb\.inv_freq)$/;

const TOKEN = "<image>";

const DIFFER = "config.json and processor_config.json are of different models: fetch both again";

/** Throws E_CONFIG where the configuration contradicts itself, the weights or the processor's, E_STATE where the names are not these systems'. */
export function blip2Pieces(source: WeightSource, json: Json, processor: Json = {}): Published {
  const told = json.model_type === "instructblip";
  const { llm, tower, bridge } = partsOf(source, told);
  const vision = section(json, "vision_config");
  const queries = size(json, "num_query_tokens", 32);
  const counted = processor.num_query_tokens;
  if (counted !== undefined && counted !== null && counted !== queries)
    throw new ConfigError("num_query_tokens", `${String(counted)}, as in processor_config.json`, queries, DIFFER);
  const token = id(json.image_token_index ?? json.image_token_id);
  const dtype = storedDType(json) === "f32" ? "float32" : "bfloat16";
  const text = blip2Text(json);
  const found: Published = {
    system: told ? "instructblip" : "blip-2",
    layout: namesOf(told).name,
    llm: { source: llm, config: text },
    media: {
      image: {
        encoder: { source: tower, config: { dtype, ...vision, model_type: vision.model_type ?? towerType(told) } },
        bridge,
        setup: {
          projector: completeBridge(bridgeOf(json, queries, told), widthOf(vision, "hidden_size", 1408), 0),
          layer: -1,
          select: "all",
        },
        rows: queries,
        token: TOKEN,
        ...(token !== undefined && { id: token }),
        ...(told && { question: QUESTION_FOLDER }),
      },
    },
    written: { mark: TOKEN, place: "first" },
  };
  return told ? { ...found, as: (tokenizer) => mmiclOf(found, size(text, "vocab_size", 0), tokenizer) } : found;
}

/** Of a folder, from its names alone. */
export function blip2Layout(source: WeightSource, json: Json): string {
  const told = json.model_type === "instructblip";
  partsOf(source, told);
  return namesOf(told).name;
}

const BLIP2 = { name: "blip2-hf", by: "BLIP-2" };
const INSTRUCTBLIP = { name: "instructblip-hf", by: "InstructBLIP" };
const namesOf = (told: boolean) => (told ? INSTRUCTBLIP : BLIP2);
const towerType = (told: boolean): string => (told ? "instructblip_vision_model" : "blip_2_vision_model");

function partsOf(source: WeightSource, told: boolean): { llm: View; tower: View; bridge: View } {
  const own = (view: View) => renamed(view, (name) => (BUFFERS.test(name) ? undefined : name));
  const parts = {
    llm: own(within(source, LLM)),
    tower: own(within(source, TOWER)),
    bridge: own(renamed(source, (name) => (BRIDGE.test(name) ? name : undefined))),
  };
  const wanted: [View, string, string][] = [
    [parts.llm, "", `${LLM}.*`],
    [parts.tower, "embeddings.class_embedding", `${TOWER}.embeddings.class_embedding`],
    [parts.bridge, "query_tokens", "query_tokens"],
    [parts.bridge, "language_projection.weight", "language_projection.weight"],
  ];
  const missing = wanted.flatMap(([view, name, full]) => ((name ? view.has(name) : [...view.names()].length) ? [] : [full]));
  const taken = [within(source, LLM), within(source, TOWER), renamed(source, (name) => (BRIDGE.test(name) ? name : undefined))];
  const strangers = left(source, taken).filter((name) => !BUFFERS.test(name));
  if (missing.length || strangers.length)
    throw new StateError(
      `the tensors of ${namesOf(told).by}, the layout ${namesOf(told).name}, in ${source.path}`,
      describe(missing, strangers),
    );
  return parts;
}

/** The language model's own configuration; one that reads its prompt by an encoder is none of the causal ones. */
export function blip2Text(json: Json): Json {
  const text = section(json, "text_config");
  const causal = flag(json, "use_decoder_only_language_model", true);
  if (!causal || text.is_encoder_decoder === true || /t5/i.test(String(text.model_type)))
    throw new ConfigError(
      "text_config.model_type",
      "a causal language model's",
      text.model_type ?? "that of an encoder and a decoder",
      "forms with FlanT5 are not read, since T5's encoder and decoder are not here: take one with OPT or Vicuna",
    );
  return textConfig(json);
}

const KEYS = [
  ...["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"],
  ...["max_position_embeddings", "layer_norm_eps", "cross_attention_frequency", "use_qformer_text_input", "pad_token_id"],
  "hidden_dropout_prob",
];

function dropoutOf(json: Json): number {
  const p = number(json, "hidden_dropout_prob", DROPOUT);
  if (!(p >= 0 && p < 1)) throw new ConfigError("hidden_dropout_prob", "from 0 to below 1", p);
  return p;
}

function bridgeOf(json: Json, queries: number, told: boolean): QFormerOptions {
  const own = section(json, "qformer_config");
  const neutral = { position_embedding_type: { wanted: '"absolute"', fits: (value: unknown) => value === "absolute" } };
  // The features' width is the tower's, whatever stands here: transformers has it so.
  checkKeys(own, "a Q-Former", { obeyed: KEYS, harmless: ["encoder_hidden_size"], neutral });
  const width = widthOf(own, "hidden_size", 768);
  const padding = own.pad_token_id === null ? undefined : id(own.pad_token_id ?? 0);
  const words = {
    vocabulary: size(own, "vocab_size", 30522),
    positions: size(own, "max_position_embeddings", 512),
    ...(padding !== undefined && { padding }),
  };
  return {
    ...{ type: "q-former", normalize: false, queries, width },
    layers: layersOf(own, "num_hidden_layers", 12),
    heads: headsOf(own, "num_attention_heads", width, 12),
    hidden: widthOf(own, "intermediate_size", 3072),
    every: size(own, "cross_attention_frequency", 2),
    activation: activationKind(own, "hidden_act", "gelu") as NonNullable<QFormerOptions["activation"]>,
    eps: epsOf(own, "layer_norm_eps", 1e-12),
    dropout: dropoutOf(own),
    text: told || flag(own, "use_qformer_text_input", false),
    ...(told && words),
  };
}
