// Rows that are there already: the same media with the same answers, or the same media whatever is said of them.
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { mediaOf, type Row } from "../../data/row.js";
import { type ImagePart, loadImage } from "../../media/image.js";
import type { MediaPart } from "../../media/part.js";
import { differenceHash, NearHashes } from "../../media/perceptual-hash.js";
import type { CurationStep } from "./step.js";

export interface DuplicateOptions {
  /** "row" (default): the media and the answers are another row's; "media": the media are, whatever is said of them. */
  by?: "row" | "media";
  /**
   * Pictures count as the same whose difference hashes of 64 bits (perceptual-hash) differ in so many bits at most: 0 finds copies in other sizes and
   * packings, up to 10 also slight changes. Default: their files must be the same, byte by byte, as of all other media.
   */
  distance?: number;
}
const OPTIONS = optionNames<DuplicateOptions>({ by: true, distance: true });

/** Drops each row that an earlier one has said already. Throws E_VALUE on options that do not fit. */
export function duplicates(options: DuplicateOptions = {}): CurationStep {
  checkOptions("duplicates", options, OPTIONS);
  const { by = "row", distance } = options;
  if (by !== "row" && by !== "media") throw expected("E_VALUE", "duplicates: by", "row or media", by);
  if (distance !== undefined && !(Number.isInteger(distance) && distance >= 0 && distance <= 16))
    throw expected("E_VALUE", "duplicates: distance", "an integer from 0 to 16", distance);
  const near = distance === undefined ? undefined : new NearHashes(distance);
  const seen = new Set<string>();
  const drop = by === "row" ? "the same media with the same answers as an earlier row" : "the same media as an earlier row";
  return {
    name: "duplicates",
    async look(items, { signal }) {
      const found = await Promise.all(
        items.map(({ row }) => Promise.all(mediaOf(row).map((part) => printOf(part, near !== undefined, signal)))),
      );
      return items.map(({ row }, i) => {
        const prints = (found[i] ?? []).map((print) => (typeof print === "bigint" ? `near ${near?.numberOf(print)}` : print));
        if (by === "media" && !prints.length) return undefined; // rows of text alone have nothing to share
        const key = JSON.stringify([prints, by === "row" ? [textsOf(row, prints.length === 0)] : []]);
        if (seen.has(key)) return { drop };
        seen.add(key);
        return undefined;
      });
    },
  };
}

/** Without media the questions count too: two may have one answer. */
function textsOf({ turns }: Row, all: boolean): string[] {
  const said = turns.filter(({ role }) => all || role === "assistant").flatMap(({ content }) => content);
  return said.filter((part) => typeof part === "string").map((text) => text.normalize("NFC").trim().replace(/\s+/g, " ").toLowerCase());
}

async function printOf(part: MediaPart, looks: boolean, signal: AbortSignal | undefined): Promise<string | bigint> {
  const { modality, source, options } = part;
  if (looks && modality === "image") return differenceHash(await loadImage(part as ImagePart, { ...(signal && { signal }) }));
  const hash = createHash("sha256").update(`${modality} ${JSON.stringify(options)} `);
  if (source instanceof Uint8Array) return hash.update(source).digest("hex");
  for (const path of [source].flat()) {
    if (typeof path !== "string") return hash.update(JSON.stringify(source)).digest("hex");
    if (/^data:/i.test(path)) hash.update(path);
    else for await (const chunk of createReadStream(path, { ...(signal && { signal }) })) hash.update(chunk as Uint8Array);
  }
  return hash.digest("hex");
}
