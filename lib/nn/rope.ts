// Rotary position embedding (arXiv 2104.09864): the table of (cos, sin) per position and pair that the op reads.
import type { Device } from "../core/device.js";
import { keep } from "../core/scope.js";
import { Tensor } from "../core/tensor.js";
import { attentionFactorOf, inverseFrequencies, type RopeAngles } from "./rope-frequencies.js";
import type { Layout } from "./sequence.js";

export { inverseFrequencies, type RopeAngles, type RopeScaling } from "./rope-frequencies.js";

/** The position that a row stands for, and the length of the sequence it is in. */
type RowOf = (row: number) => readonly [position: number, length: number];

/**
 * Tables are (P,D/2,2) f32. With dynamic scaling what a position is turned by depends on how long its sequence is by then: beyond the original
 * context each forward has a table of its own, and decoding, which adds one position after the other, one whose every row is made for the
 * sequence that ends there.
 */
export class Rope {
  #table: Tensor | undefined;
  /** Dynamic scaling: of the latest sequence beyond the original context, whose length is its number of rows. */
  #long: Tensor | undefined;

  constructor(
    private readonly device: Device,
    private readonly options: RopeAngles,
  ) {}

  /** Does a sequence of that length need its own frequencies? */
  #depends(length: number): boolean {
    const { scaling } = this.options;
    return scaling.type === "dynamic" && length > scaling.maxPositions;
  }

  /** For sequences of that length. `room`: positions that are soon to follow, so that a table need not grow at once. */
  table(length: number, room = 0): Tensor {
    if (this.#depends(length)) {
      if (this.#long?.shape[0] === length) return this.#long;
      const made = this.#made(length, (position) => [position, length]);
      this.#long?.dispose();
      this.#long = made;
      return made;
    }
    const wanted = Math.max(length, room, 64);
    if (this.#table && (this.#table.shape[0] as number) >= wanted) return this.#table;
    const rows = 2 ** Math.ceil(Math.log2(wanted)); // grows by doubling
    const made = this.#made(rows, (position) => [position, 0]);
    this.#table?.dispose();
    this.#table = made;
    return made;
  }

  /** Positions of a layout as a tensor, and a table that has all of them. `room`: as of table(). */
  placed({ positions, batch, length }: Layout, room = 0): { table: Tensor; positions: Tensor } {
    const furthest = positions.reduce((most, position) => Math.max(most, position + 1), 0);
    return { table: this.table(furthest, room), positions: Tensor.from(positions, [batch, length], { device: this.device }) };
  }

  /** For decoding in a cache of `length` slots: where in decodeTable() the rows of each sequence begin. `behind`: as of decodeTable. */
  decodeRows(length: number, behind: readonly number[]): number[] {
    if (!this.#depends(length)) return behind.map(() => 0);
    const blocks = [...new Set(behind)];
    return behind.map((by) => blocks.indexOf(by) * length);
  }

  /**
   * For decoding in a cache of `length` slots where table() does not serve; the caller owns it. `behind` says by how many positions each
   * sequence of the batch is behind the longest, whose length is what counts for all of them, as in transformers.
   */
  decodeTable(length: number, behind: readonly number[]): Tensor | undefined {
    if (!this.#depends(length)) return undefined;
    const blocks = [...new Set(behind)];
    return this.#made(blocks.length * length, (row) => {
      const position = row % length;
      return [position, position + (blocks[Math.floor(row / length)] as number) + 1];
    });
  }

  #made(rows: number, at: RowOf): Tensor {
    const pairs = this.options.headDim / 2;
    const factor = attentionFactorOf(this.options.scaling);
    const values = new Float32Array(rows * pairs * 2);
    let next = 0;
    let of = -1;
    let frequencies: Float32Array = new Float32Array();
    for (let row = 0; row < rows; ++row) {
      const [position, length] = at(row);
      if (length !== of) frequencies = inverseFrequencies(this.options, length);
      of = length;
      for (const w of frequencies) {
        const angle = Math.fround(position * w);
        values[next++] = Math.fround(Math.cos(angle)) * factor;
        values[next++] = Math.fround(Math.sin(angle)) * factor;
      }
    }
    return keep(Tensor.from(values, [rows, pairs, 2], { device: this.device }));
  }

  dispose(): void {
    for (const tensor of [this.#table, this.#long]) tensor?.dispose();
    this.#table = this.#long = undefined;
  }
}
