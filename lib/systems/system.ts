// A system of the literature as a value: what its parts are, what trains in which stage and by which numbers, and how it writes a medium. Nothing here
// runs a model: assembling reads the parts, recipes are completed with the numbers.
import type { FramePicks } from "../media/clip.js";
import type { BridgeOptions } from "../models/bridges/index.js";
import type { FeatureLayer, Select } from "../models/bridges/select.js";

/** How one kind of media reaches the language model. */
export interface SystemModality {
  projector: BridgeOptions;
  /** Which hidden state of the encoder, or which ones; default -1, the last. */
  layer?: FeatureLayer;
  /** Default: what the projector reads. */
  select?: Select;
  /** Of video through an image encoder: how many, and which ones; default the middles of equal spans. */
  frames?: number;
  picks?: FramePicks;
  /** Pictures are padded to squares, with the mean colour. */
  pad?: true;
}

/** Named as the keys of a recipe. What is left out is as it is in every recipe. */
export interface Numbers {
  batch: number;
  learningRate: number;
  /** Of the published data. */
  steps: number;
  schedule?: "cosine" | "linear" | "constant";
  warmupSteps?: number;
  weightDecay?: number;
  maxGradNorm?: number;
  maxLength?: number;
}

/** A system's, where a recipe does not say otherwise. Of fewer steps its warm-up is the same share: a run that ends within it would never reach its rate. */
export function numbersFor(numbers: Numbers, { steps = numbers.steps }: { steps?: number | undefined }): Numbers {
  const { warmupSteps } = numbers;
  if (warmupSteps === undefined || !(steps < numbers.steps)) return numbers;
  return { ...numbers, warmupSteps: Math.round((warmupSteps * steps) / numbers.steps) };
}

export interface LoraNumbers {
  r: number;
  alpha: number;
  dropout: number;
  targetModules: readonly string[] | string;
}

export interface Stage {
  /** Which of the trainings: on captions, on questions and answers; represent: of a bridge and captions alone, before there is a language model. */
  how: "align" | "instruct" | "represent";
  /** What trains: patterns over parameter names in which * stands for anything, such as "projectors.*", "llm.*", "adapters.*"; rows that are added to the vocabulary are an adapter too. */
  opens: readonly string[];
  /** Of these what rows with media train, and nothing else; rows of text alone train the rest. */
  disjoint?: readonly string[];
  numbers: Numbers;
  /** Of single kinds of media, where they have numbers of their own. */
  of?: Readonly<Record<string, Partial<Numbers>>>;
  /** What it puts on the language model. */
  lora?: LoraNumbers;
  /** Parameters with a rate of their own, by pattern: learning rates, not factors. */
  rates?: Readonly<Record<string, number>>;
  /** Where the numbers stand. */
  section: string;
}

/** What stands in or around a model from its beginning, before any stage. */
export interface SystemAdapter {
  kind: string;
  /** "llm", or the modality whose encoder it stands in. */
  on: string;
  config: Readonly<Record<string, unknown>>;
  /** Options that are as wide as the rows of a kind of media are: { dimVisual: "image" }. */
  widths?: Readonly<Record<string, string>>;
  /** The option that numbers the layers, of what stands in an encoder: those alone that the features are made of. */
  read?: string;
  section: string;
}

export interface System {
  name: string;
  /** In a line. */
  title: string;
  paper: string;
  /** By kind of media. */
  modalities: Readonly<Record<string, SystemModality>>;
  /** For kinds of media that it does not speak of; without it they need a projector of their own. */
  otherwise?: SystemModality;
  /** How the language model is held. Default nf4; "none" where a stage trains it whole. */
  quantization?: "nf4" | "none";
  adapters: readonly SystemAdapter[];
  /** align and instruct are what those two do unless told otherwise; others are further forms of them. */
  stages: Readonly<Record<string, Stage>>;
  /**
   * Text before and after each medium, {n} in it for its place among the media; proxy: the token by which a text names the n-th medium, "<image{n}>"; id: a token
   * that stands in the text for a medium that is not between it; answer and end: the tokens that begin and end an answer; ask and asked: text around what the
   * user says; mark: what stands for a medium in published prompts, and in no text here; place: media stand before the whole text, or before that of their turn.
   */
  written: Readonly<Partial<Record<"before" | "after" | "proxy" | "id" | "end" | "answer" | "ask" | "asked" | "mark", string>>> & {
    place?: "first" | "turn";
  };
  addedTokens: readonly string[];
  /** Before a conversation that has no system turn of its own. */
  prompt?: string;
  /** What captions answer in stage 1; "" asks nothing. Default: requests to describe the medium. */
  captionPrompts?: readonly string[];
  /** Published folders that are read as it, by the names that layouts/ has for them. */
  layouts: readonly string[];
}
