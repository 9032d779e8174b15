// Errors of this library carry a stable `code`; docs/errors.md lists them.
import { bounded, visible } from "./visible.js";

/** Codes of the addon, which throws errors of its own: plain ones and TypeErrors, made where no class of JavaScript is at hand. */
export const ADDON_CODES: ReadonlySet<unknown> = new Set([
  "E_ARGUMENT",
  "E_CAPTURE",
  "E_CLOSED",
  "E_DEVICE",
  "E_DEVICE_FAILED",
  "E_DISPOSED",
  "E_DTYPE",
  "E_FILE",
  "E_INDEX",
  "E_INTERNAL",
  "E_OUT_OF_MEMORY",
  "E_SHAPE",
  "E_VALUE",
]);
/** Those among them that say nothing of what was given: the next row, or file, would fail as this one did. */
const OF_DEVICE: ReadonlySet<unknown> = new Set([
  "E_CAPTURE",
  "E_CLOSED",
  "E_DEVICE",
  "E_DEVICE_FAILED",
  "E_DISPOSED",
  "E_INTERNAL",
  "E_OUT_OF_MEMORY",
]);

/** Its message quotes files of others, and is often printed as it is: control characters in it are written out. */
export class AnymalError extends Error {
  override readonly name: string = "AnymalError";
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(visible(bounded(message)), options);
  }
}

// Every error of this library is one, the addon's too, which costs an op nothing: they are told by their code when somebody asks. Subclasses
// inherit this, and are asked about themselves.
Object.defineProperty(AnymalError, Symbol.hasInstance, {
  value(this: unknown, error: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this, error)) return true;
    return this === AnymalError && error instanceof Error && ADDON_CODES.has((error as { code?: unknown }).code);
  },
});

/** Is it the device's trouble, and not that of what it was given? */
export const isOfDevice = (error: unknown): boolean => error instanceof Error && OF_DEVICE.has((error as { code?: unknown }).code);

/** The sentence every check uses: what, expected, got, and the next thing to try. */
export function expected(code: string, what: string, wanted: string, got: unknown, next = ""): AnymalError {
  return new AnymalError(code, `${what}: expected ${wanted}, got ${String(got)}${next && `; ${next}`}`);
}
