// What is wrong with a picture, a sound, a video or a recording, and what to do about it.
import { AnymalError } from "../core/errors.js";

/**
 * E_MEDIA_SOURCE: not there or not readable. E_MEDIA_FORMAT: corrupt, or a kind that is not read here. E_MEDIA_LIMIT: larger than the
 * options allow. E_MEDIA_OPTION: an option or a processor's configuration is wrong. E_MEDIA_TOOL: a program or a package is needed and was not found.
 */
export type MediaCode = "E_MEDIA_SOURCE" | "E_MEDIA_FORMAT" | "E_MEDIA_LIMIT" | "E_MEDIA_OPTION" | "E_MEDIA_TOOL";

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

/** The first line of what a library said, short enough for a message. */
export function reasonOf(error: unknown): string {
  const { message } = Object(error) as { message?: unknown }; // an error of another realm is no instance of this one's
  const line = (typeof message === "string" ? message : String(error)).split("\n")[0]!.trim();
  return line.length > 160 ? `${line.slice(0, 160)}…` : line || "no reason given";
}
