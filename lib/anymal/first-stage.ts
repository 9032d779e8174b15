// BLIP-2's first stage as one puts it together: a frozen encoder, the tokenizer that captions are read by, and a fresh Q-Former between them. No language
// model has a part in it. What it has learned is saved as a bridge on which a model is assembled.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { is, shown } from "../core/checks.js";
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
import { freshEncoders } from "./encoders.js";
import { type Features, MediaEncoder } from "./media-encoder.js";
import { checkProjector, LOAD_KEYS, type LoadOptions, type ModalityOptions } from "./options.js";
import { cutIds, QuestionReader } from "./question.js";
import { openSource } from "./source.js";
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

const KEYS = [
  ...LOAD_KEYS,
  ...optionNames<Omit<FirstStageOptions, keyof LoadOptions>>({
    ...({ modality: true, encoder: true, layer: true, select: true, pad: true } as const),
    ...({ words: true, projector: true, embedDim: true, kinds: true, seed: true } as const),
  }),
];
const AT = "FirstStage.assemble";
const BEGIN = "[DEC]";
/** The most that a first stage reads of a text, where its projector does not say it: BERT's. */
const POSITIONS = 512;

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
    if (embedDim !== undefined && !is.upTo(65_536, 1).fits(embedDim))
      throw expected("E_VALUE", `${AT} embedDim`, "an integer from 1 to 65536", shown(embedDim));
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
    const { folder } = await openSource(words, options);
    const reader = await QuestionReader.open(folder, signal);
    const tokenizer = await Tokenizer.load(folder, { signal, addedTokens: [BEGIN] });
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
