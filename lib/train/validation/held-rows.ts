// The rows that a training asks itself: some from all over the data, each a question whose last turn is the right answer.
import { AnymalError, expected } from "../../core/errors.js";
import type { Row } from "../../data/row.js";
import type { RowSource } from "../../data/sources/source.js";

export interface HeldRowsOptions {
  /** At most. */
  rows: number;
  onBadRow: "throw" | "skip";
  onProblem?: ((problem: AnymalError) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** Rejects with E_DATA where there is none, with E_ROW on one without an answer unless such are left out. */
export async function someRows(source: RowSource, { rows: most, onBadRow, onProblem, signal }: HeldRowsOptions): Promise<Row[]> {
  const count = Math.min(most, source.length);
  const rows: Row[] = [];
  for (let k = 0; k < count; ++k) {
    signal?.throwIfAborted();
    try {
      const row = await source.row(Math.floor(((k + 0.5) * source.length) / count));
      const last = row.turns.at(-1)?.role;
      if (last !== "assistant")
        throw expected(
          "E_ROW",
          row.where,
          "an answer as its last turn, to hold the model's own against",
          last ?? "no turn",
          "leave it out",
        );
      rows.push(row);
    } catch (error) {
      if (!(error instanceof AnymalError) || error.code !== "E_ROW" || onBadRow === "throw") throw error;
      onProblem?.(error);
    }
  }
  if (!rows.length) throw expected("E_DATA", "validation", "a row that can be asked", `none of ${count}`, "check its data");
  return rows;
}
