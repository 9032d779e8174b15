// What a key table is: the names that a system's own checkpoints have, and what Hugging Face's layout, or this library's model, calls the same weights.
import { PickleError } from "../torch/error.js";

export type Json = Record<string, unknown>;

export interface Rule {
  /** Of the whole name. The first rule that fits counts; a name that none fits stays as it is. */
  readonly from: RegExp;
  /** With $1 and $2 as String.replace has them; several share the rows evenly; null: not written. */
  readonly to: string | readonly string[] | null;
  /** The dimension along which the files of one model each hold a part. Without it all hold the same. */
  readonly along?: 0 | 1 | "not width";
  /** Rows that rotate in neighbouring pairs in each head, and do so in halves in Hugging Face's layout: how many heads. */
  readonly turned?: "heads" | "kvHeads";
}

/** Of a model: what its tensors' shapes alone do not say. */
export interface Numbers {
  readonly width: number;
  readonly heads: number;
  readonly kvHeads: number;
}

export interface KeyTable {
  /** For --table. */
  readonly name: string;
  /** "Meta's LLaMA" */
  readonly system: string;
  /** It is that system's where each of them fits a name. */
  readonly marks: readonly RegExp[];
  readonly rules: readonly Rule[];
  /** A file of JSON that has to lie beside the weights. */
  readonly needs?: string;
  /** A dict of numbers in the file itself, beside the tensors, where it has one. */
  readonly inside?: string;
  /** What rules that turn or join rows need, from that file. */
  numbers?(path: string, beside: Json): Numbers;
  /** In which file a tensor goes, by its new name, where a checkpoint holds several parts that are read by themselves. Default: all in one, or in shards. */
  fileOf?(name: string): string;
  /** Files that this library needs beside the weights, made from their shapes; what lies beside the original comes first. */
  files?(known: Known): Readonly<Record<string, Json>>;
}

/** What is known of a model when its names are Hugging Face's: shapes, and what the file says that lies beside. */
export class Known {
  constructor(
    readonly path: string,
    readonly shapes: ReadonlyMap<string, readonly number[]>,
    readonly dtype: string,
    /** Of the file that the table needs, or of the dict inside. */
    readonly beside: Json,
  ) {}

  has(name: string): boolean {
    return this.shapes.has(name);
  }
  size(name: string, dimension: number): number {
    const size = this.shapes.get(name)?.[dimension];
    return (
      size ?? this.fail(`"${name}" with a dimension ${dimension}`, this.has(name) ? `[${this.shapes.get(name)}]` : "none of that name")
    );
  }
  /** How often `name` is there with 0, 1, … in place of its *. */
  count(name: string): number {
    let n = 0;
    while (this.has(name.replace("*", String(n)))) ++n;
    return n;
  }
  /** Of a square of patches, from a table of positions that has `more` rows beside them. */
  side(name: string, dimension: number, more: number): number {
    const side = Math.sqrt(this.size(name, dimension) - more);
    return Number.isInteger(side) ? side : this.fail(`"${name}" for a square of patches`, `[${this.shapes.get(name)}]`);
  }
  /** An integer from the file beside. */
  integer(key: string, otherwise?: number): number {
    const value = this.beside[key] ?? otherwise;
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 1
      ? value
      : this.fail(`"${key}" to be an integer of at least 1`, JSON.stringify(value)?.slice(0, 40) ?? "nothing");
  }
  fail(expected: string, got: string): never {
    throw new PickleError(
      this.path,
      expected,
      got,
      "the weights are of another model than the key table is for: --table none keeps their own names",
    );
  }
}
