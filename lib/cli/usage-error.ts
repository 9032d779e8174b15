// A command line that asks for something impossible.
import { AnymalError } from "../core/errors.js";

export class UsageError extends AnymalError {
  override readonly name = "UsageError";
  constructor(command: string, message: string) {
    super("E_USAGE", `${command}: ${message}; see ${command} --help`);
  }
}
