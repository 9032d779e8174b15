// Errors of this library carry a stable `code`; docs/errors.md lists them.

export class AnymalError extends Error {
  override readonly name: string = "AnymalError";
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The sentence every check uses: what, expected, got, and the next thing to try. */
export function expected(code: string, what: string, wanted: string, got: unknown, next = ""): AnymalError {
  return new AnymalError(code, `${what}: expected ${wanted}, got ${String(got)}${next && `; ${next}`}`);
}
