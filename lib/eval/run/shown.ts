// What a question is shown: its own media, or, to see what is known without them, blank ones or another question's.
import { expected } from "../../core/errors.js";
import { derange } from "../controls.js";
import type { FoundItem, FoundMedium } from "./items.js";

/** own: the question's. blank: as large or long, with nothing in it. shuffled: another's of the same kind of question. wrong: another's with other answers. */
export const SHOWN = ["own", "blank", "shuffled", "wrong"] as const;
export type Shown = (typeof SHOWN)[number];
export type Control = Exclude<Shown, "own">;
export const CONTROLS: readonly Control[] = ["blank", "shuffled", "wrong"];

const keyOf = (media: readonly FoundMedium[]): string => JSON.stringify(media);

/**
 * Of each question the media that it is shown. Several questions may be about one picture, so pictures are exchanged and not questions: none keeps its
 * own. The same for the same seed.
 */
export function mediaShown(items: readonly FoundItem[], shown: Shown, seed: number): (readonly FoundMedium[])[] {
  if (shown === "own" || shown === "blank") return items.map(({ media }) => media);
  const groups = new Map<string, FoundItem[]>();
  for (const item of items) {
    const own = groups.get(keyOf(item.media));
    if (own) own.push(item);
    else groups.set(keyOf(item.media), [item]);
  }
  const all = [...groups.values()];
  if (all.length < 2) throw expected("E_DATA", `the control "${shown}"`, "questions about at least two media", all.length, "leave it out");
  const first = all.map(([item]) => item as FoundItem);
  const kinds = first.map(({ kind = "" }) => kind);
  const answers = all.map((group) => JSON.stringify([...new Set(group.map(({ target }) => target.trim().toLowerCase()))].sort()));
  const places = derange(all.length, shown === "shuffled" ? { seed, kinds } : { seed, answers });
  const given = new Map(all.map((_, i) => [keyOf((first[i] as FoundItem).media), (first[places[i] as number] as FoundItem).media]));
  return items.map(({ media }) => given.get(keyOf(media)) as readonly FoundMedium[]);
}
