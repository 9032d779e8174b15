// What a trial of a system is.
import type { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions, ModalityOptions } from "../../lib/anymal/options.js";
import type { FeatureCache } from "../../lib/data/feature-cache.js";
import type { AlignRecipe, InstructInput } from "../../lib/train/recipe.js";
import type { RepresentRecipe } from "../../lib/train/represent-recipe.js";

type Seen = Omit<ModalityOptions, "encoder">;

export interface Trial {
  /** Of lib/systems. */
  system: string;
  /** How it takes pictures, or clips. */
  image?: Seen;
  video?: Seen;
  /** Of what it has on the language model from the beginning. */
  adapters?: AssembleOptions["adapters"];
  prompt?: AssembleOptions["prompt"];
  /** Stages in order. One that the system lacks is left out. */
  represent?: Partial<RepresentRecipe>;
  align?: Partial<AlignRecipe>;
  instruct: InstructInput;
  /** What differs from the published numbers, and why, in words. */
  changed: readonly string[];
  own?: OwnQuestions;
}
export const mediumOf = ({ video }: Trial): "image" | "video" => (video ? "video" : "image");

/** What a system can that others cannot: further rows to train on, and what is asked in the end. */
export interface OwnQuestions {
  /** Into the world's folder; gives the files of rows. */
  write(world: OwnWorld): Promise<string[]>;
  ask(model: AnyMAL, asked: AskedOptions): Promise<Shares>;
}
export type Shares = Readonly<Record<string, number>>;
export interface OwnWorld {
  data: string;
  seed: number;
  /** Times the steps, and the pictures. */
  effort: number;
}
export interface AskedOptions extends OwnWorld {
  signal: AbortSignal;
  cache: FeatureCache;
  /** The same trial from its beginning with other questions of its own. */
  again(own: OwnQuestions): Promise<Shares>;
}

/** Of pictures and rows. */
export const scaled = (count: number, effort: number): number => Math.max(8, Math.round(count * Math.min(1, effort)));
