// A trained BLIP-2 or InstructBLIP as a folder that transformers loads: one file of tensors under its names, one configuration, tokenizers and processor.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { mergedWeights } from "../adapters/export.js";
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { CONFIG_FILES, PROCESSOR_FILES, QUESTION_FOLDER, TOKENIZER_FILES } from "../io/model-files.js";
import { SAVE_OPTIONS, type SaveOptions, saveModel } from "../io/model-folder.js";
import type { Writable } from "../io/safetensors.js";
import { writeWhole } from "../io/whole-file.js";
import { DROPOUT, type QFormerSetup } from "../models/bridges/q-former.js";
import { activationName, type Json, readConfig, readJson } from "../models/config.js";
import { textConfig } from "../models/decoder.js";
import { isWhole } from "../models/model-types.js";
import type { AnyMAL } from "./anymal.js";
import { copyFiles } from "./export-llava.js";

const TOKEN = "<image>";

/**
 * Adapters on the language model are merged into what is written; the model keeps them. Rejects with E_VALUE where it is no BLIP-2 (a Q-Former, without a norm
 * of its own before it, over all rows of BLIP-2's tower), or its tokenizer lacks <image>.
 */
export async function exportBlip2(model: AnyMAL, folder: string, options: SaveOptions = {}): Promise<void> {
  checkOptions("exportBlip2", options, SAVE_OPTIONS);
  const { encoder, setup, source } = model.encoder("image");
  const { projector, layer, select } = setup;
  const { tokenizer, llmSource, llm, questions } = model;
  const id = tokenizer.specialTokens.get(TOKEN);
  const reader = questions.get("image");
  const keep = "save() keeps the model in anymal's own folder";
  const wrong = (wanted: string, got: string, next = keep) => expected("E_VALUE", "exportBlip2", wanted, got, next);
  if (projector.type !== "q-former" || projector.normalize)
    throw wrong(
      "a Q-Former without a norm before it",
      projector.type === "q-former" ? `one behind ${projector.normalize}` : `"${projector.type}"`,
    );
  if (encoder.kind !== "blip2-vision") throw wrong("an encoder of BLIP-2", encoder.kind);
  if (select !== "all" || layer !== -1) throw wrong('select "all" of layer -1', `"${select}" of layer ${layer}`);
  if (id === undefined) throw wrong(`a tokenizer with ${TOKEN}`, "one without", "assemble the model with it among addedTokens");
  const dtype = (options.dtype ?? llm.dtype) === "f32" ? "float32" : "bfloat16";
  const json = readConfig(llmSource.folder);
  const { quantization_config: _, ...text } = isWhole(json) ? textConfig(json) : json;
  const [name, prefix] = reader ? ["InstructBlip", "instructblip"] : ["Blip2", "blip_2"];
  const config = {
    architectures: [`${name}ForConditionalGeneration`],
    model_type: reader ? "instructblip" : "blip-2",
    num_query_tokens: projector.queries,
    image_token_index: id,
    use_decoder_only_language_model: true,
    tie_word_embeddings: llm.config.tieWordEmbeddings,
    dtype,
    text_config: { ...text, dtype },
    vision_config: { ...(encoder.configJson() as Json), model_type: `${prefix}_vision_model`, dtype },
    qformer_config: { ...qformerJson(projector), model_type: `${prefix}_qformer`, dtype },
  };
  const stored = function* (): Generator<[string, Writable]> {
    for (const [key, tensor] of mergedWeights(llm, options.dtype ?? llm.dtype)) yield [`language_model.${key}`, tensor];
    yield* encoder.namedParameters();
    yield* model.projector("image").namedParameters();
  };
  await saveModel(folder, { namedParameters: () => [], namedModules: () => [], hostState: stored }, config, options);
  copyFiles(llmSource.folder, folder, [...TOKENIZER_FILES, ...CONFIG_FILES.filter((file) => file !== "config.json")]);
  copyFiles(source.folder, folder, PROCESSOR_FILES);
  await reader?.save(join(folder, QUESTION_FOLDER));
  const path = join(folder, "processor_config.json");
  const processor = existsSync(path) ? readJson(path) : {};
  const own = { ...processor, processor_class: `${name}Processor`, num_query_tokens: projector.queries };
  await writeWhole(path, `${JSON.stringify(own, null, 2)}\n`);
}

function qformerJson(p: QFormerSetup): Json {
  const words = p.vocabulary !== undefined && {
    vocab_size: p.vocabulary,
    max_position_embeddings: p.positions,
    pad_token_id: p.padding ?? null,
  };
  return {
    hidden_dropout_prob: p.dropout ?? DROPOUT,
    ...{ hidden_size: p.width, num_hidden_layers: p.layers, num_attention_heads: p.heads, intermediate_size: p.hidden },
    ...{ hidden_act: activationName(p.activation), layer_norm_eps: p.eps, cross_attention_frequency: p.every, encoder_hidden_size: p.dim },
    ...(words || { use_qformer_text_input: p.text }),
  };
}
