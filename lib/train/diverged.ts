// Steps that went wrong: a loss or a gradient that is no number, or one far beyond the others; told with the rows that made it.
import { AnymalError } from "../core/errors.js";

/** What becomes of such a step. */
export interface Guard {
  /** "throw" ends the training before weights change; "skip" leaves the step out: its gradient is dropped, weights and moments stay. Default "throw". */
  onDiverged?: "throw" | "skip" | undefined;
  /** Above this norm, before clipping, a gradient is one of them. Default: any finite norm will do. */
  normLimit?: number | undefined;
  /** Told of each step that is left out. */
  onSkip?: ((problem: AnymalError) => void) | undefined;
}

/** Rows that a message names. */
const NAMED = 8;

/** Throws E_DIVERGED where what a step reports is no number. `rows` are those of the step. */
export function diverged(what: string, value: number, step: number, rows: readonly string[] = []): void {
  if (!Number.isFinite(value)) throw problem(`a finite ${what}`, value, step, rows);
}

/** Each step is looked at before its update where this is so: JavaScript waits for its numbers then. */
export const guards = ({ onDiverged, normLimit }: Guard): boolean => onDiverged === "skip" || normLimit !== undefined;

/** What is wrong with a step; undefined where nothing is. */
export function problemOf(
  loss: number,
  norm: number,
  step: number,
  rows: readonly string[],
  { normLimit = Infinity }: Guard,
): AnymalError | undefined {
  if (!Number.isFinite(loss)) return problem("a finite loss", loss, step, rows);
  if (!Number.isFinite(norm)) return problem("a finite norm of the gradient", norm, step, rows);
  return norm > normLimit ? problem(`a gradient whose norm is at most ${normLimit}`, norm, step, rows) : undefined;
}

function problem(wanted: string, got: number, step: number, rows: readonly string[]): AnymalError {
  const more = rows.length > NAMED ? ` and ${rows.length - NAMED} more` : "";
  const of = rows.length ? `, whose rows are ${rows.slice(0, NAMED).join(", ")}${more}` : "";
  const next = 'lower the learning rate, look at these rows, or leave such steps out with onDiverged: "skip"';
  return new AnymalError(
    "E_DIVERGED",
    `training: expected ${wanted}, got ${got} at step ${step}${of}; ${rows.length ? next : "lower the learning rate"}`,
  );
}
