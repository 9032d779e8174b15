// Files that make no tokenizer.
import { AnymalError } from "../core/errors.js";

/** E_TOKENIZER: files that make no tokenizer, or one that is not read here. */
export class TokenizerError extends AnymalError {
  override readonly name = "TokenizerError";
  constructor(message: string, options?: ErrorOptions) {
    super("E_TOKENIZER", message, options);
  }
}

/** Says of a file's value what it should be, and what it is. */
export type Fail = (wanted: string, got: string) => never;

export const failOf =
  (file: string): Fail =>
  (wanted, got) => {
    throw new TokenizerError(`expected ${wanted} in ${file}, got ${got}; fetch the file again`);
  };
