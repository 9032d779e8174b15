// What is wrong with a checkpoint folder.
import { AnymalError } from "../core/errors.js";

/** The file that makes a folder a checkpoint. */
export const MANIFEST = "anymal.json";

/** A checkpoint folder that cannot be what it says. */
export class CheckpointError extends AnymalError {
  override readonly name = "CheckpointError";
  constructor(
    readonly folder: string,
    readonly expected: string,
    readonly got: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super("E_CHECKPOINT", `${folder}: expected ${expected}, got ${got}; ${remedy}`, options);
  }
}
