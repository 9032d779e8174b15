// What a processor is given: parts of its kind, at least one.
import { MediaError } from "./error.js";
import type { AnyPart } from "./kinds/kind.js";

/** Throws E_MEDIA_OPTION on none, and on one of another kind: its file would be said to be damaged. */
export function checkParts(processor: string, modality: string, parts: readonly AnyPart[]): void {
  const other = parts.find((part) => part.modality !== modality);
  if (parts.length && !other) return;
  const got = other ? `one of ${other.modality}` : "none";
  throw new MediaError("E_MEDIA_OPTION", processor, `${other ? "parts" : "at least one part"} of ${modality}`, got, `pass ${modality}(…)`);
}
