// Published models that are known by their config.json and not read: each with the reason, and with what to take instead.
import { ConfigError, type Json } from "./config.js";
import { MODEL_TYPES } from "./model-types.js";

const TILES = "it cuts a picture into tiles, and every token of a tile is a row: that layout is not read; take LLaVA 1.5";
const ENCODER_DECODER = "T5 has an encoder and a decoder, and only decoders are here: take one of the families that are listed";

/** By model_type. */
const REFUSED: Readonly<Record<string, string>> = {
  llava_next: `LLaVA-NeXT: ${TILES}`,
  llava_next_video: `LLaVA-NeXT-Video: ${TILES}`,
  llava_onevision: `LLaVA-OneVision: ${TILES}`,
  llava_mistral: `LLaVA 1.6 on Mistral: ${TILES}`,
  llava_qwen: `LLaVA on Qwen: ${TILES}`,
  llava_mpt: "LLaVA on MPT keeps its projection among MPT's own names, a layout that is not read: take LLaVA 1 or 1.5 on LLaMA or Vicuna",
  vipllava: "ViP-LLaVA joins hidden states of five layers behind a norm: take LLaVA 1.5",
  video_llava:
    "Video-LLaVA has a tower of its own for clips, LanguageBind's, which is not here: take LLaVA 1.5, whose tower reads a clip's frames",
  instructblipvideo: "InstructBLIP for clips joins the queries of all frames: take InstructBLIP, which reads a picture",
  idefics2: "IDEFICS-2 has another tower and no cross-attention: take IDEFICS-1",
  idefics3: "IDEFICS-3 has another tower and no cross-attention: take IDEFICS-1",
  mosaic_gpt: "MosaicML's GPT came before MPT, with norms on queries and keys and other names: take an MPT",
  gpt_neox: "GPT-NeoX (RedPajama, Pythia) computes attention and feed-forward side by side: take an MPT or a LLaMA",
  t5: ENCODER_DECODER,
  mt5: ENCODER_DECODER,
};

/** What is said of a model that is known and not read; undefined of any other. */
export function refused(json: Json): ConfigError | undefined {
  const type = json.model_type;
  if (type === "blip-2" && [json.architectures].flat().includes("Blip2ForImageTextRetrieval"))
    return new ConfigError(
      "architectures",
      '["Blip2ForConditionalGeneration"]',
      json.architectures,
      "this BLIP-2 compares pictures with texts, and holds no language model: take one with OPT",
    );
  const why = typeof type === "string" && Object.hasOwn(REFUSED, type) ? REFUSED[type] : undefined;
  return why === undefined ? undefined : new ConfigError("model_type", `one of ${Object.keys(MODEL_TYPES).join(", ")}`, type, why);
}
