// What is wrong with a picture, a sound, a video or a recording, and what to do about it.
import { AnymalError } from "../core/errors.js";

/**
 * E_MEDIA_SOURCE: not there or not readable. E_MEDIA_FORMAT: corrupt, or a kind that is not read here. E_MEDIA_LIMIT: larger than the
 * options allow. E_MEDIA_OPTION: an option or a processor's configuration is wrong. E_MEDIA_TOOL: a program or a package is needed and was not found.
 */
export type MediaCode = "E_MEDIA_SOURCE" | "E_MEDIA_FORMAT" | "E_MEDIA_LIMIT" | "E_MEDIA_OPTION" | "E_MEDIA_TOOL";

/** E_MEDIA_…: a file, or one of its options, of which no medium comes. The code says which: source, format, limit, option, tool. */
export class MediaError extends AnymalError {
  override readonly name = "MediaError";
  constructor(
    code: MediaCode,
    /** Which medium: its path, or what kind of value was given. */
    readonly source: string,
    readonly expected: string,
    readonly got: string,
    readonly remedy: string,
    options?: ErrorOptions,
  ) {
    super(code, `${source}: expected ${expected}, got ${got}; ${remedy}`, options);
  }
}

/** Codes of the addon: of the machine, not of the medium. */
const OURS = /^E_(OUT_OF_MEMORY|DEVICE|DISPOSED|LOAD)/;

/**
 * What a reader throws that is no error of this library is the medium's fault: a decoder that trips over bytes. So a broken file never ends what was told
 * to go on without it.
 */
export async function readingOf<T>(what: string, signal: AbortSignal | undefined, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    const { code } = Object(cause) as { code?: unknown };
    if (cause instanceof AnymalError || (signal?.aborted && cause === signal.reason) || (typeof code === "string" && OURS.test(code)))
      throw cause;
    throw new MediaError("E_MEDIA_FORMAT", what, "a file that can be decoded", reasonOf(cause), "play or view it: the file is damaged", {
      cause,
    });
  }
}

/** The first line of what a library said, short enough for a message. */
export function reasonOf(error: unknown): string {
  const { message } = Object(error) as { message?: unknown }; // an error of another realm is no instance of this one's
  const line = (typeof message === "string" ? message : String(error)).split("\n")[0]!.trim();
  return line.length > 160 ? `${line.slice(0, 160)}…` : line || "no reason given";
}
