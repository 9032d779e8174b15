// An adapter, or what is asked of one, that cannot be.
import { AnymalError } from "../core/errors.js";

/** E_LORA: a configuration or a file of a LoRA adapter that does not fit, or is not known. */
export class LoraConfigError extends AnymalError {
  override readonly name = "LoraConfigError";
  constructor(
    readonly expected: string,
    readonly got: string,
  ) {
    super("E_LORA", `LoRA: expected ${expected}, got ${got}`);
  }
}
