// The shards, read in place: every row's medium and what its caption says.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type MediaPart, mediaOf, openRows } from "../../lib/index.js";

/** A medium, and the one word that is true of it. */
export interface Example {
  part: MediaPart;
  word: string;
}

/** What trains, and what no training sees. */
export interface Split {
  train: readonly Example[];
  test: readonly Example[];
}

export const DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/** Everybody who speaks: the names of the shards. */
export const speakersIn = (data: string): string[] => shards(join(data, "spoken-digits")).map((file) => file.replace(/\.tar$/, ""));

/** Spoken digits of some people. Their rows have a number where others have a caption. */
export const spoken = (data: string, speakers: readonly string[]): Promise<Example[]> =>
  examplesIn(
    speakers.map((name) => join(data, "spoken-digits", `${name}.tar`)),
    (caption) => {
      const word = DIGITS[Number(caption)];
      if (!word) throw new RangeError(`expected a digit from 0 to 9 in each row's json, got ${caption}`);
      return word;
    },
    { caption: "digit" },
  );

/** Pictures whose captions end with what they show: "a photo of a frog". */
export function pictures(data: string, split: "train" | "test"): Promise<Example[]> {
  const folder = join(data, "pictures");
  const files = shards(folder).filter((file) => file.startsWith(split));
  return examplesIn(
    files.map((file) => join(folder, file)),
    (caption) => caption.split(" ").at(-1) as string,
  );
}

const shards = (folder: string): string[] =>
  readdirSync(folder)
    .filter((file) => file.endsWith(".tar"))
    .sort();

async function examplesIn(
  files: readonly string[],
  wordOf: (caption: string) => string,
  columns?: Record<string, string>,
): Promise<Example[]> {
  const rows = await openRows(files, { ...(columns && { columns }) });
  const examples: Example[] = [];
  for (let i = 0; i < rows.length; ++i) {
    const row = await rows.row(i);
    const [caption] = row.turns.at(-1)?.content ?? [];
    const [part] = mediaOf(row);
    if (typeof caption === "string" && part) examples.push({ part, word: wordOf(caption) });
  }
  await rows.close();
  return examples;
}
