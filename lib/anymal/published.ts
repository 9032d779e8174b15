// A folder as others publish it, a language model with what it sees through: read as what it is, by the layout that its config.json names.
import { existsSync } from "node:fs";
import { join, relative, resolve, sep } from "node:path";
import { adapterKindOf } from "../adapters/load-adapter.js";
import type { Device } from "../core/device.js";
import { notice } from "../core/notice.js";
import { Checkpoint, weightFile } from "../io/checkpoint.js";
import { isHubId } from "../io/hub/names.js";
import { ImageProcessor } from "../media/image-processor.js";
import type { MediaPart, MediaProcessor, Modality } from "../media/part.js";
import { openCausalLM } from "../models/auto-causal-lm.js";
import { openEncoder } from "../models/auto-encoder.js";
import { storedBridge } from "../models/bridges/index.js";
import { ConfigError, type Json, readConfig, readJson } from "../models/config.js";
import { quantizationOf } from "../models/loading.js";
import { isWhole } from "../models/model-types.js";
import { refused } from "../models/refused-types.js";
import { systemOf } from "../systems/index.js";
import { checkText, publishedPieces } from "../systems/layouts/index.js";
import type { Published, PublishedMedium } from "../systems/published.js";
import { Tokenizer } from "../text/tokenizer.js";
import type { AdapterPlan, MediaPlan, Plan } from "./build.js";
import { CheckpointError, MANIFEST } from "./checkpoint-error.js";
import { folderOf, inFolder } from "./encoders.js";
import type { FromPretrainedOptions, ModalitySetup, PromptFormat } from "./options.js";
import { DEFAULT_ADAPTER } from "./parts.js";
import { questionIn } from "./question.js";
import { openSource, type Source } from "./source.js";

type Loading = FromPretrainedOptions & { device: Device };

/** Is it a folder of a model of parts that did not come from here? Rejects with E_CONFIG on one that is known and not read, with the reason. */
export async function isPublished(folder: string): Promise<boolean> {
  if (existsSync(join(folder, MANIFEST)) || !existsSync(join(folder, "config.json"))) return false;
  const json = readConfig(folder);
  const error = refused(json);
  if (error) throw error;
  return isWhole(json);
}

/** Where all of it comes from, for build(). The files stay open until then. */
export async function published(folder: string, options: Loading): Promise<Plan> {
  const { device, dtype, signal } = options;
  const json = readConfig(folder);
  checkText(json);
  const processor = existsSync(join(folder, PROCESSOR)) ? readJson(join(folder, PROCESSOR)) : {};
  const file = weightFile(folder) ? Checkpoint.open(folder) : bridgeAlone(folder);
  try {
    const found = publishedPieces(file, json, processor);
    const own = await openSource(folder);
    const llmSource = "named" in found.llm ? await elsewhere(folder, "llm", found.llm.named, options.llm, options) : own;
    const read = (addedTokens: readonly string[] = []) => Tokenizer.load(llmSource.folder, { signal, addedTokens });
    const known = await read(found.addedTokens);
    const other = found.as?.(known);
    const pieces = other ?? found;
    const tokenizer = other ? await read(other.addedTokens) : known;
    const { addedTokens = [] } = pieces;
    for (const medium of Object.values(pieces.media)) checkToken(medium, tokenizer);
    checkWritten(pieces, tokenizer);
    const form = quantizationOf(options.quantization);
    const held = { device, ...(dtype && { dtype }), ...(form && { quantization: form }) };
    const { llm } = pieces;
    const media: MediaPlan[] = [];
    for (const [modality, medium] of Object.entries(pieces.media))
      media.push(await mediumPlan(folder, modality as Modality, medium, json, own, options));
    return {
      ...{
        system: pieces.system,
        layout: pieces.layout,
        tokenizer,
        addedTokens,
        llmSource,
        quantization: form,
        prompt: promptOf(pieces, tokenizer),
        signal,
        kinds: options.kinds ?? [],
        media,
        adapters: [
          ...(pieces.adapters ?? []).map(
            ({ name, kind, on, config, source }): AdapterPlan => ({
              ...{ name: name ?? kind, kind, on },
              from: source ? { source, config } : { config: () => config, seed: 0 },
            }),
          ),
          ...("named" in llm ? adapterBeside(folder) : []),
        ],
        trained: [],
      },
      openLlm: () => openCausalLM("named" in llm ? llmSource.folder : llm, held, signal),
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
const PROCESSOR = "processor_config.json";
/** Of a first stage that wrote no more. */
const BRIDGE_ALONE = "mm_projector.safetensors";
/** What LLaVA's code writes in its place. */
const PICKLES = ["non_lora_trainables.bin", "mm_projector.bin"];
const ADAPTER = "adapter_config.json";

function bridgeAlone(folder: string): Checkpoint {
  const pickle = existsSync(join(folder, BRIDGE_ALONE)) ? undefined : PICKLES.find((name) => existsSync(join(folder, name)));
  if (pickle)
    throw new CheckpointError(folder, BRIDGE_ALONE, `${pickle}, a pickle`, `anymal convert ${folder} OUT writes a folder that is read`);
  return Checkpoint.openIn(folder, BRIDGE_ALONE);
}

/** Of a LoRA run: PEFT's adapter, on the language model that the folder names. */
function adapterBeside(folder: string): AdapterPlan[] {
  const path = join(folder, ADAPTER);
  if (!existsSync(path)) return [];
  return [{ name: DEFAULT_ADAPTER, kind: adapterKindOf(readJson(path), folder).name, on: "llm", from: { folder } }];
}

async function mediumPlan(
  folder: string,
  modality: Modality,
  medium: PublishedMedium,
  json: Json,
  own: Source,
  options: Loading,
): Promise<MediaPlan> {
  const { device, dtype } = options;
  const { encoder, bridge } = medium;
  const setup: ModalitySetup = { ...medium.setup, frames: undefined };
  const where =
    "named" in encoder
      ? await elsewhere(folder, modality, encoder.named, folderOf(folder, modality, options.encoders?.[modality]), options)
      : own;
  const place = inFolder(modality, where, device, dtype);
  const loading = { device, ...(dtype && { dtype }) };
  const reader = medium.question === undefined ? undefined : await questionIn(folder, medium.question, options.signal);
  return {
    ...place,
    open: "named" in encoder ? place.open : () => openEncoder(encoder, loading),
    setup: () => setup,
    processor: (complete) => checkSize(place.processor(complete), "named" in encoder ? undefined : encoder.config, json),
    projector: (complete, llm) => storedBridge(bridge, complete.projector, device, llm.width),
    calibrated: true,
    ...(reader && { question: async () => reader }),
  };
}

/**
 * A part that the folder names and does not hold. Within the folder it is taken as it is; a model of the hub is asked for, and told; any other path is
 * for the caller to name: the folder may come from anybody.
 */
async function elsewhere(
  folder: string,
  what: string,
  named: string | undefined,
  given: string | undefined,
  options: Loading,
): Promise<Source> {
  if (given !== undefined) return openSource(given, options);
  const place = named === undefined ? folder : resolve(folder, named);
  const below = relative(folder, place);
  if (named !== undefined && below && !below.startsWith("..") && !below.startsWith(sep) && existsSync(join(place, "config.json")))
    return openSource(place);
  if (named !== undefined && isHubId(named)) {
    const onRequest = (endpoint: string) =>
      notice("ANYMAL_HUB_NAMED", `${folder} names ${named} as its ${what}: ${endpoint} is asked for it (localFilesOnly says no to it)`);
    return openSource(named, { ...options, onRequest });
  }
  throw new CheckpointError(
    folder,
    `its ${what === "llm" ? "language model" : `encoder of ${what}`}${named === undefined ? "" : `, ${JSON.stringify(named.slice(0, 100))}`}, in the folder or on the hub`,
    "neither",
    `pass where it is now: ${what === "llm" ? "{ llm: FOLDER }" : `{ encoders: { ${what}: FOLDER } }`}`,
  );
}

/** What stands in a prompt for a medium must be one token of the tokenizer's, with the id that the model knows it by. */
function checkToken({ token, id }: PublishedMedium, tokenizer: Tokenizer): void {
  if (id === undefined) return;
  const own = tokenizer.specialTokens.get(token);
  if (own === id) return;
  throw new ConfigError(
    "image_token_index",
    own === undefined ? `the id of ${token}, which the tokenizer lacks` : `${own}, the tokenizer's id of ${token}`,
    id,
    own === undefined
      ? "fetch the tokenizer's files again"
      : "config.json and tokenizer are of different models: correct the key, or fetch both again",
  );
}

/** Control tokens around a medium are the tokenizer's own. */
function checkWritten({ written = {}, addedTokens = [], llm, layout }: Published, tokenizer: Tokenizer): void {
  const rows = "config" in llm ? Number(llm.config.vocab_size) : Infinity;
  for (const token of [written.id, written.edge, ...addedTokens]) {
    if (!token) continue;
    const id = tokenizer.specialTokens.get(token);
    if (id !== undefined && id < rows) continue;
    throw new ConfigError(
      "vocab_size",
      `such that ${token}, with which ${layout} writes a medium, has a row`,
      id === undefined ? "a tokenizer without it" : `${rows}, and its id ${id}`,
      "model and tokenizer are of different folders: fetch both again",
    );
  }
}

/** A tower takes pictures of one size here: one of another has another number of rows. */
function checkSize(processor: MediaProcessor<MediaPart>, config: Json | undefined, json: Json): MediaProcessor<MediaPart> {
  const size = processor instanceof ImageProcessor ? processor.size : undefined;
  const wanted = config?.image_size ?? 224;
  if (config && size && (size.height !== wanted || size.width !== wanted))
    throw new ConfigError(
      "image_size",
      `${size.height}, the side of the pictures of preprocessor_config.json, in vision_config of ${JSON.stringify(json.model_type)}`,
      wanted,
      "config and processor are of different models: fetch both again",
    );
  return processor;
}

/** The tokenizer's template writes media itself; where there is none, as the system has it. */
function promptOf({ system, media, written: own }: Published, tokenizer: Tokenizer): PromptFormat {
  if (own) return { written: own };
  const [medium] = Object.values(media);
  if (tokenizer.hasChatTemplate) return medium ? { written: { token: medium.token } } : {};
  const { prompt, written } = systemOf(system);
  return { ...(prompt !== undefined && { system: prompt }), written };
}
