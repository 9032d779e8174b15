// Rows that are longer than the context: answers are cut from their end, questions and media never.
import { expected } from "../core/errors.js";
import { IGNORE, type PromptPart } from "./prompt.js";
import { headOf } from "./splice.js";

/** How many positions a medium takes, by its number in the conversation. */
export type MediaLength = (media: number) => number;

const lengthOf = (part: PromptPart, mediaLength: MediaLength): number => ("media" in part ? mediaLength(part.media) : part.ids.length);

/** Positions that the parts take, media as many as `mediaLength` says. */
export function promptLength(parts: readonly PromptPart[], mediaLength: MediaLength): number {
  return parts.reduce((n, part) => n + lengthOf(part, mediaLength), 0);
}

/**
 * At most `maxLength` positions. What follows the last label that still fits is dropped, so that a cut row ends in an answer and a medium is
 * there whole or not at all. A prompt that leaves no room for an answer (or, without labels, one that does not fit) throws E_PROMPT.
 */
export function fitParts(parts: readonly PromptPart[], maxLength: number, mediaLength: MediaLength, where = "prompt"): PromptPart[] {
  const total = promptLength(parts, mediaLength);
  if (total <= maxLength) return [...parts];
  const kept: PromptPart[] = [];
  let left = maxLength;
  for (const part of parts) {
    const length = lengthOf(part, mediaLength);
    if (length <= left) kept.push(part);
    else if (!("media" in part)) kept.push(headOf(part, left));
    left -= length;
    if (left <= 0) break;
  }
  for (let last = kept.pop(); last; last = kept.pop()) {
    const labels = labelledLength(last);
    if (labels && !("media" in last)) return [...kept, headOf(last, labels)];
  }
  const media = parts.reduce((n, part) => n + ("media" in part ? mediaLength(part.media) : 0), 0);
  const answer = parts.some(labelledLength) ? " and a token of the answer" : "";
  const next = "raise maxLength, shorten it, or use fewer media tokens";
  throw expected("E_PROMPT", where, `a prompt${answer} within ${maxLength} positions`, `${total}, ${media} of them media`, next);
}

/** Up to and with the last label. */
function labelledLength(part: PromptPart): number {
  if ("media" in part || !part.labels) return 0;
  let length = part.labels.length;
  while (length > 0 && part.labels[length - 1] === IGNORE) --length;
  return length;
}
