// A prompt as one types it: <image> where a medium given beside it stands, or <image:cat.jpg> with the file in the text itself.
import { existsSync } from "node:fs";
import { expected } from "../core/errors.js";
import { splitAtMarks } from "../data/marks.js";
import type { Content } from "../data/row.js";
import { MediaError } from "../media/error.js";
import type { Kind } from "../media/kinds/index.js";
import type { MediaOptions } from "../media/media-options.js";
import type { MediaPart, Modality } from "../media/part.js";
import { pathOf } from "../media/source.js";
import { kinds } from "./kinds.js";

export function mediaPart(modality: Modality, source: string, options: MediaOptions = {}): MediaPart {
  return (kinds().get(modality) as Kind).part(source, options[modality] ?? {}) as MediaPart;
}

/** The n-th <image> is the n-th image; media of a kind that the text never marks follow it, in the order they were given. */
export function placed(text: string, media: readonly MediaPart[], where = "prompt"): Content {
  const pieces = splitAtMarks(text, kinds());
  const marks = (modality: Modality) => pieces.filter((piece) => typeof piece !== "string" && piece.modality === modality).length;
  const waiting = new Map<Modality, MediaPart[]>();
  for (const modality of [...kinds().keys()] as Modality[]) {
    const own = media.filter((part) => part.modality === modality);
    const wanted = marks(modality);
    if (wanted && wanted !== own.length)
      throw expected(
        "E_PROMPT",
        where,
        `one ${modality} for every <${modality}>`,
        `${wanted} marks and ${own.length} files`,
        "mend one of them",
      );
    if (wanted) waiting.set(modality, own);
  }
  const content = pieces.map((piece) => (typeof piece === "string" ? piece : (waiting.get(piece.modality)?.shift() as MediaPart)));
  const rest = media.filter(({ modality }) => !marks(modality));
  const all = [...content, ...rest];
  if (!all.some((part) => typeof part !== "string" || part.trim()))
    throw expected("E_PROMPT", where, "text or media", "neither", "ask something");
  return all;
}

/** "what is on <image:cat.jpg>?" */
export function inline(text: string, options: MediaOptions = {}): Content {
  const content: (string | MediaPart)[] = [];
  const inlined = new RegExp(`<(${[...kinds().keys()].join("|")}):([^<>]+)>`, "g");
  let from = 0;
  for (const { 0: whole, 1: modality, 2: source = "", index } of text.matchAll(inlined)) {
    if (index > from) content.push(text.slice(from, index));
    content.push(mediaPart(modality as Modality, source.trim(), options));
    from = index + whole.length;
  }
  if (from < text.length) content.push(text.slice(from));
  const bare = content.find((part) => typeof part === "string" && splitAtMarks(part, kinds()).some((piece) => typeof piece !== "string"));
  if (bare)
    throw expected("E_PROMPT", "message", "the file with the mark, as in <image:cat.jpg>", JSON.stringify(bare), "name it after a colon");
  return content;
}

/** Said before a model is loaded, or a turn begun. */
export function checkFiles(content: Content): void {
  for (const part of content) {
    if (typeof part === "string") continue;
    const path = pathOf(part.source as string);
    if (path !== undefined && !existsSync(path))
      throw new MediaError(
        "E_MEDIA_SOURCE",
        path,
        `the file of ${part.modality}`,
        "no such file",
        `check the path (the working directory is ${process.cwd()})`,
      );
  }
}
