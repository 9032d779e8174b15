// A trained LLaVA-1.5 as a folder that transformers loads, in the names that its hub has: one file of tensors, one configuration, and the processor's files.
import { copyFileSync, existsSync } from "node:fs";
import { join } from "node:path";
import { mergedWeights } from "../adapters/export.js";
import { expected } from "../core/errors.js";
import { onFileSync } from "../core/file-error.js";
import { checkOptions } from "../core/options.js";
import { checkLinks } from "../core/plain-file.js";
import { CONFIG_FILES, PROCESSOR_FILES, TOKENIZER_FILES } from "../io/model-files.js";
import { SAVE_OPTIONS, type SaveOptions, saveModel } from "../io/model-folder.js";
import type { Writable } from "../io/safetensors.js";
import { writeWhole } from "../io/whole-file.js";
import { activationName, type Json, readConfig, readJson } from "../models/config.js";
import { textConfig } from "../models/decoder.js";
import { isWhole } from "../models/model-types.js";
import type { AnyMAL } from "./anymal.js";

const TOWERS = ["clip-vision", "siglip-vision"];

/**
 * Adapters on the language model are merged into what is written; the model keeps them. Rejects with E_VALUE where the model is no LLaVA-1.5 (an MLP
 * over the rows of CLIP or SigLIP), or its tokenizer lacks the token that stands for a picture.
 */
export async function exportLlava(model: AnyMAL, folder: string, options: SaveOptions = {}): Promise<void> {
  checkOptions("exportLlava", options, SAVE_OPTIONS);
  const { encoder, setup, source } = model.encoder("image");
  const { projector, layer, select, pad } = setup;
  const [bridge, { tokenizer, llmSource, llm }] = [model.projector("image"), model];
  const token = model.prompt.written?.token ?? "<image>";
  const id = tokenizer.specialTokens.get(token);
  const wrong = (wanted: string, got: string, next: string) => expected("E_VALUE", "exportLlava", wanted, got, next);
  if (projector.type !== "mlp" || projector.normalize || projector.hidden !== undefined)
    throw wrong(
      "an MLP as wide as the language model, without a norm before it",
      `"${projector.type}"${"normalize" in projector && projector.normalize ? ` behind ${projector.normalize}` : ""}`,
      "transformers has no class for another bridge: save() keeps it in anymal's own folder",
    );
  if (!TOWERS.includes(encoder.kind))
    throw wrong("an encoder of CLIP or SigLIP", encoder.kind, "save() keeps the model in anymal's own folder");
  if (select !== "patch" && select !== "all") throw wrong('select "patch" or "all"', select, "save() keeps it in anymal's own folder");
  if (id === undefined)
    throw wrong(`a tokenizer with ${token}`, "one without", "add it: Tokenizer.fromPretrained(folder, { addedTokens })");
  const vision = encoder.configJson() as Json;
  const rows = Math.floor((vision.image_size as number) / (vision.patch_size as number)) ** 2;
  const full = select === "all" || encoder.classTokens === 0;
  const json = readConfig(llmSource.folder);
  const text = isWhole(json) ? textConfig(json) : json;
  const dtype = (options.dtype ?? llm.dtype) === "f32" ? "float32" : "bfloat16";
  const { quantization_config: _, ...dense } = text;
  const config = {
    architectures: ["LlavaForConditionalGeneration"],
    model_type: "llava",
    image_token_index: id,
    image_seq_length: rows + (full ? encoder.classTokens : 0),
    vision_feature_layer: layer,
    vision_feature_select_strategy: full ? "full" : "default",
    projector_hidden_act: activationName(projector.activation),
    multimodal_projector_bias: projector.bias,
    tie_word_embeddings: llm.config.tieWordEmbeddings,
    dtype,
    text_config: { ...dense, dtype },
    vision_config: { ...vision, dtype },
  };
  const stored = function* (): Generator<[string, Writable]> {
    for (const [name, tensor] of mergedWeights(llm, options.dtype ?? llm.dtype)) yield [`language_model.${name}`, tensor];
    for (const [name, tensor] of encoder.namedParameters()) if (name.startsWith("vision_model.")) yield [`vision_tower.${name}`, tensor];
    for (const [name, tensor] of bridge.namedParameters()) yield [`multi_modal_projector.${name}`, tensor];
  };
  await saveModel(folder, { namedParameters: () => [], namedModules: () => [], hostState: stored }, config, options);
  copyFiles(llmSource.folder, folder, [...TOKENIZER_FILES, ...CONFIG_FILES.filter((name) => name !== "config.json")]);
  copyFiles(
    source.folder,
    folder,
    PROCESSOR_FILES.filter((name) => name.startsWith("preprocessor")),
  );
  const processor = {
    processor_class: "LlavaProcessor",
    image_token: token,
    patch_size: vision.patch_size,
    num_additional_image_tokens: encoder.classTokens,
    vision_feature_select_strategy: config.vision_feature_select_strategy,
  };
  await writeWhole(join(folder, "processor_config.json"), `${JSON.stringify(processor, null, 2)}\n`);
  if (pad) await padded(folder);
}

/** What pads pictures to squares has a class of its own there. */
async function padded(folder: string): Promise<void> {
  const path = join(folder, "preprocessor_config.json");
  const config = existsSync(path) ? readJson(path) : {};
  await writeWhole(path, `${JSON.stringify({ ...config, image_processor_type: "LlavaImageProcessor", do_pad: true }, null, 2)}\n`);
}

/** Those that there are, of files that lie in the folder itself. */
export function copyFiles(from: string, to: string, names: readonly string[]): void {
  for (const name of names.filter((one) => existsSync(join(from, one)))) {
    checkLinks(from, join(from, name)); // a copy would take another file of this machine along
    onFileSync("to be written", join(to, name), () => copyFileSync(join(from, name), join(to, name)));
  }
}
