// A model as others publish it, taken apart: from which tensors each part is made, and how the parts go together. No part of it is made yet.
import type { WeightSource } from "../io/checkpoint.js";
import type { BridgeSetup } from "../models/bridges/index.js";
import type { FeatureLayer, Select } from "../models/bridges/select.js";
import type { Piece } from "../models/piece.js";
import type { System } from "./system.js";

export interface PublishedMedium {
  /** The encoder's weights, or where they are by themselves: a folder beside this one, or a model of the hub. */
  encoder: Piece | { readonly named: string };
  /** Of the bridge, under its own names. */
  bridge: WeightSource;
  setup: { projector: BridgeSetup; layer: FeatureLayer; select: Select; pad?: true };
  /** Of one medium, where its encoder says so: otherwise known when the encoder is there. */
  rows?: number;
  /** How prompts write one, and the id that the files give it. */
  token: string;
  id?: number;
  /** Where in the folder the tokenizer lies that its bridge reads the question by. */
  question?: string;
}

/** What stands in the language model from the beginning. */
export interface PublishedAdapter {
  /** Default: as its kind. */
  name?: string;
  kind: string;
  on: "llm";
  config: object;
  /** Of its weights under the kind's names; none: as a fresh one begins. */
  source?: WeightSource;
}

export interface Published {
  /** Of lib/systems. */
  system: string;
  /** Which of the ways of naming its tensors. */
  layout: string;
  /** Or where it is by itself, where the folder says so. */
  llm: Piece | { readonly named: string | undefined };
  media: Readonly<Record<string, PublishedMedium>>;
  adapters?: readonly PublishedAdapter[];
  /** Where the files' own code writes a medium, not a chat template: control tokens around it, or its place. */
  written?: System["written"] & { readonly edge?: string };
  /** Control tokens that the files' own code adds to the tokenizer, in this order: the folder of a language model alone has a tokenizer without them. */
  addedTokens?: readonly string[];
  /** As another system that has the same names, where the tokenizer, read as the folder has it, shows it to be of that one. */
  as?(tokenizer: TokenizerFacts): Published | undefined;
}

export interface TokenizerFacts {
  readonly specialTokens: ReadonlyMap<string, number>;
  readonly vocabSize: number;
}
