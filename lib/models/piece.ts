// One model out of a checkpoint that holds more: its weights under its own names, and its own configuration.
import type { WeightSource } from "../io/checkpoint.js";
import type { Json } from "./config.js";

export interface Piece {
  readonly source: WeightSource;
  readonly config: Json;
}
/** Where a model is: a folder of its own, or a piece of a larger one. */
export type Place = string | Piece;
