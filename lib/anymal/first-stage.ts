// BLIP-2's first stage as one puts it together: a frozen encoder, the tokenizer that captions are read by, and a fresh Q-Former between them. No language
// model has a part in it. What it has learned is saved as a bridge on which a model is assembled.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { is, shown } from "../core/checks.js";
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { checkOptions, optionNames } from "../core/options.js";
import { owning } from "../core/owning.js";
import { saveSafetensors } from "../io/safetensors.js";
import { writeNew } from "../io/whole-file.js";
import { kindsWith, type OwnKinds } from "../media/kinds/index.js";
import type { MediaPart, Modality } from "../media/part.js";
import { Blip2StageOne, type Blip2StageOneConfig } from "../models/blip2-stage-one.js";
import { makeBridge } from "../models/bridges/index.js";
import { DROPOUT, type QFormerOptions, type QFormerProjector, type QFormerSetup } from "../models/bridges/q-former.js";
import { LAYER } from "../models/bridges/select.js";
import { deviceOf, OTHER_LOADING } from "../models/loading.js";
import { Weights } from "../nn/weights.js";
import { systemOf } from "../systems/index.js";
import { Tokenizer } from "../text/tokenizer.js";
import { type EncoderPlan, freshEncoders, storedEncoders } from "./encoders.js";
import { openFirstStage, takeStored, WIDTH } from "./first-stage-files.js";
import { type Features, MediaEncoder } from "./media-encoder.js";
import { checkProjector, type FromPretrainedOptions, LOAD_KEYS, type LoadOptions, type ModalityOptions } from "./options.js";
import { cutIds, QuestionReader } from "./question.js";
import { tokenizerFolder } from "./source.js";
import { OUTPUT_FRESH, SETUP, WEIGHTS } from "./stored-bridge.js";

export interface FirstStageOptions extends LoadOptions, Pick<ModalityOptions, "encoder" | "layer" | "select" | "pad"> {
  /** Default image. */
  modality?: Modality;
  /**
   * A folder or an id of the hub: the tokenizer by which captions are read (BLIP-2's: bert-base-uncased). [DEC], which begins a text that is to be written,
   * comes to its tokens.
   */
  words: string;
  /** Default: that of the system blip-2, 32 queries of 12 layers, 768 wide. The norm over the features is learned, "layernorm", or the tower's own, false. */
  projector?: QFormerOptions;
  /** Width in which media and captions are compared. Default 256. */
  embedDim?: number;
  /** Of media, the user's own that it may name. */
  kinds?: OwnKinds;
  /** Of the fresh weights. Default 0. */
  seed?: number;
}

/** `encoders`: where its encoder is now, if it moved, by its kind of media. */
export interface StoredFirstStageOptions extends LoadOptions, Pick<FromPretrainedOptions, "encoders" | "kinds"> {}

const KEYS = [
  ...LOAD_KEYS,
  ...optionNames<Omit<FirstStageOptions, keyof LoadOptions>>({
    ...({ modality: true, encoder: true, layer: true, select: true, pad: true } as const),
    ...({ words: true, projector: true, embedDim: true, kinds: true, seed: true } as const),
  }),
];
const AT = "FirstStage.assemble";
const STORED = "FirstStage.fromPretrained";
const STORED_KEYS = [...LOAD_KEYS, ...optionNames<Pick<StoredFirstStageOptions, "encoders" | "kinds">>({ encoders: true, kinds: true })];
const BEGIN = "[DEC]";
/** The most that a first stage reads of a text, where its projector does not say it: BERT's. */
const POSITIONS = 512;

interface Building extends Required<Pick<FirstStageOptions, "seed" | "kinds">> {
  device: Device;
  /** The tokenizer's folder. */
  words: string;
  embedDim: number | undefined;
  signal: AbortSignal | undefined;
}

/** BLIP-2's first stage (arXiv 2301.12597, section 3.2): a frozen encoder, a Q-Former and the tokenizer of captions. representMedia() trains it. */
export class FirstStage {
  private constructor(
    /** Frozen; features come from here. */
    readonly media: MediaEncoder,
    /** What trains. */
    readonly model: Blip2StageOne,
    readonly tokenizer: Tokenizer,
    /** The tokenizer's files. */
    readonly words: QuestionReader,
    readonly kinds: OwnKinds,
  ) {}

  /**
   * Rejects with E_VALUE or E_MODALITY on options that do not fit each other, E_CHECKPOINT or E_HUB where a folder cannot be read; nothing stays on the device
   * then.
   */
  static async assemble(options: FirstStageOptions): Promise<FirstStage> {
    checkOptions(AT, options, KEYS, { others: OTHER_LOADING });
    const { modality = "image", words, projector, layer, embedDim, kinds = [], seed = 0, dtype, signal, ...more } = options;
    const known = kindsWith(kinds);
    if (!known.has(modality)) throw expected("E_VALUE", `${AT} modality`, `one of ${[...known.keys()].join(", ")}`, shown(modality));
    if (!is.text.fits(words)) throw expected("E_VALUE", `${AT} words`, "a tokenizer's folder, or an id of the hub", shown(words));
    if (layer !== undefined && !LAYER.fits(layer)) throw expected("E_VALUE", `${AT} layer`, LAYER.wanted, shown(layer));
    if (embedDim !== undefined && !WIDTH.fits(embedDim)) throw expected("E_VALUE", `${AT} embedDim`, WIDTH.wanted, shown(embedDim));
    if (projector && projector.type !== "q-former")
      throw expected("E_VALUE", `${AT} projector.type`, "q-former, which has a first stage", shown(projector.type), "leave the stage out");
    if (projector) checkProjector(`${AT} projector`, projector);
    if (projector?.normalize === "standardize")
      throw expected("E_VALUE", `${AT} projector.normalize`, '"layernorm" or false', '"standardize", which is not learned', "leave it out");
    const { encoder, select, pad } = more;
    const asked = {
      encoder,
      ...(projector && { projector: { normalize: "layernorm" as const, ...projector } }),
      ...(layer !== undefined && { layer }),
      ...(select && { select }),
      ...(pad && { pad }),
    };
    const device = await deviceOf(options.device);
    const [plan] = await freshEncoders({ [modality]: asked }, known, device, dtype, systemOf("blip-2"), options);
    if (!plan) throw expected("E_MODALITY", `${AT} encoder`, "an encoder", "none", "name a folder, or an id of the hub");
    const folder = await tokenizerFolder(words, options);
    return FirstStage.#build(plan, { device, words: folder, embedDim, seed, kinds, signal });
  }

  /**
   * What representMedia() has saved, or begun from: the folder of a run, its checkpoint/ or its start/. The encoder must be the one that it was trained with.
   * Rejects with E_CHECKPOINT where the folder holds no first stage, or the encoder is not there any more.
   */
  static async fromPretrained(given: string, options: StoredFirstStageOptions = {}): Promise<FirstStage> {
    checkOptions(STORED, options, STORED_KEYS, { others: OTHER_LOADING });
    const { kinds = [], signal } = options;
    checkOptions(`${STORED} encoders`, options.encoders, [...kindsWith(kinds).keys()]);
    const { folder, said, words } = await openFirstStage(given);
    const { modality, embedDim, ...entry } = said;
    const device = await deviceOf(options.device);
    const [plan] = await storedEncoders(folder, { [modality]: entry }, kindsWith(kinds), { ...options, device });
    if (!plan) throw expected("E_MODALITY", STORED, `a kind of media that is known, with ${modality}`, "none", "pass yours again in kinds");
    const first = await FirstStage.#build(plan, { device, words, embedDim, seed: 0, kinds, signal });
    return owning(async (own) => {
      takeStored(own(first).model, folder);
      return first;
    });
  }

  static async #build(plan: EncoderPlan, { device, words, embedDim, seed, kinds, signal }: Building): Promise<FirstStage> {
    const { modality } = plan;
    const reader = await QuestionReader.open(words, signal);
    const tokenizer = await Tokenizer.load(words, { signal, addedTokens: [BEGIN] });
    return owning(async (own) => {
      const tower = own(await plan.open());
      const setup = plan.setup(tower);
      const config = configOf(setup.projector as QFormerSetup, tokenizer, embedDim);
      if (setup.frames !== undefined)
        throw expected(
          "E_MODALITY",
          `${AT} modality`,
          "media that an encoder takes whole",
          `${modality} by its frames`,
          "learn from pictures",
        );
      const model = own(new Blip2StageOne(Weights.fresh({ device, seed }), config));
      await tower.arrived();
      signal?.throwIfAborted();
      const media = new MediaEncoder(modality, tower, plan.processor(setup), setup, plan.source);
      return new FirstStage(media, model, tokenizer, reader, kinds);
    });
  }

  get modality(): Modality {
    return this.media.modality;
  }
  get device(): Device {
    return this.model.device;
  }
  /** The one, by its kind of media. */
  get encoders(): ReadonlyMap<Modality, MediaEncoder> {
    return new Map([[this.modality, this.media]]);
  }
  get setup(): QFormerSetup {
    return this.media.setup.projector as QFormerSetup;
  }
  /** The id that begins a text that is to be written. */
  get begin(): number {
    return this.tokenizer.specialTokens.get(BEGIN) as number;
  }
  dispose(): void {
    this.model.dispose();
    this.media.encoder.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  encoder(modality: Modality): MediaEncoder {
    if (modality === this.modality) return this.media;
    throw expected("E_MODALITY", "the first stage", `media of ${this.modality}`, modality, "leave the row out");
  }
  /** What the encoder makes of media, in the order given. */
  async features(parts: readonly MediaPart[], reading: { signal?: AbortSignal | undefined } = {}): Promise<Features[]> {
    for (const { modality } of parts) this.encoder(modality);
    return parts.length ? this.media.encode(parts, reading) : [];
  }
  /** A caption's ids, at most `most`; control tokens that it spells are letters. */
  ids(caption: string, most: number): number[] {
    return cutIds(this.tokenizer.encode(caption, { splitSpecialTokens: true }), most, this.tokenizer);
  }

  /**
   * Writes what was learned as a bridge: projector.json and projector.safetensors, all but the layer to a language model, which a model that is assembled with
   * `projector: folder` makes afresh.
   */
  async saveBridge(folder: string): Promise<void> {
    using bridge = makeBridge(Weights.fresh({ device: this.model.device }), this.setup, 1) as QFormerProjector;
    this.model.handOver(bridge);
    const learned = [...bridge.namedParameters()].filter(([, tensor]) => !bridge.output.parameters().includes(tensor));
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    await saveSafetensors(join(folder, WEIGHTS), learned, { format: "pt" });
    const json = { ...this.setup, ...OUTPUT_FRESH };
    await writeNew(join(folder, SETUP), (file) => file.writeFile(`${JSON.stringify(json, null, 2)}\n`));
  }
}

function configOf(setup: QFormerSetup, { vocabSize, padToken, specialTokens }: Tokenizer, embedDim?: number): Blip2StageOneConfig {
  const { dim, queries, width, layers, heads, hidden, every, activation, eps, dropout = DROPOUT } = setup;
  const normalize = setup.normalize && "layernorm";
  const { vocabulary = vocabSize, positions = POSITIONS, padding = specialTokens.get(padToken ?? "") } = setup;
  if (vocabulary !== vocabSize)
    throw expected(
      "E_VALUE",
      `${AT} projector.vocabulary`,
      `${vocabSize}, the tokens of its tokenizer with ${BEGIN}`,
      vocabulary,
      "say that, or leave it out where the bridge is not to read the question",
    );
  return {
    ...{ dim, queries, width, layers, heads, hidden, every, activation, eps, dropout, normalize },
    words: { vocabulary, positions, padding },
    ...(embedDim !== undefined && { embedDim }),
  };
}
