// samples.json: the rows that a report shows, with their media as they look, so that a page can be made again when the files are gone.
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { isObject } from "../../core/checks.js";
import { parseShallow } from "../../core/json.js";
import { readPlain } from "../../core/plain-file.js";
import type { Row } from "../../data/row.js";
import { writeWhole } from "../../io/whole-file.js";
import type { Pixels } from "../../media/image.js";
import { kindOf } from "../../media/kinds/index.js";
import { sharpFor } from "../../media/libraries.js";
import type { MediaPart } from "../../media/part.js";
import type { Curve } from "../../media/preview.js";
import { describe } from "../../media/source.js";

export const SAMPLES = "samples.json";
const LARGEST = 64 * 2 ** 20;

export interface SampleMedium {
  modality: string;
  name: string;
  /** data: URLs. */
  pictures: string[];
  curves: Curve[];
  seconds?: number;
}
export interface Sample {
  where: string;
  question: (string | SampleMedium)[];
  answer: string;
}

export async function writeSamples(folder: string, rows: readonly Row[], signal?: AbortSignal): Promise<void> {
  const samples: Sample[] = [];
  for (const row of rows) samples.push(await sampleOf(row, signal));
  await writeWhole(join(folder, SAMPLES), `${JSON.stringify(samples)}\n`);
}

/** A row as a page shows it: what comes before its last answer, and that. */
export async function sampleOf({ where, turns }: Row, signal?: AbortSignal): Promise<Sample> {
  const question: Sample["question"] = [];
  for (const { content } of turns.slice(0, -1))
    for (const part of content) question.push(typeof part === "string" ? part : await mediumOf(part, signal));
  return { where, question, answer: (turns.at(-1)?.content ?? []).filter((part) => typeof part === "string").join(" ") };
}

export async function readSamples(folder: string): Promise<Sample[]> {
  const path = join(folder, SAMPLES);
  if (!existsSync(path)) return [];
  const value = parseShallow((await readPlain(path, { most: LARGEST, linksInside: true })).toString());
  return Array.isArray(value) ? value.filter(isSample) : [];
}

const isSample = (value: unknown): value is Sample => isObject(value) && Array.isArray(value.question) && typeof value.answer === "string";

/** Pixels at most, of a picture that stands alone and of each of several. */
export interface ShownSize {
  alone: readonly [width: number, height: number];
  several: readonly [width: number, height: number];
}
const SMALL: ShownSize = { alone: [320, 200], several: [112, 84] };

/** What cannot be shown is named: a page is no reason for a run to end. */
export async function mediumOf(part: MediaPart, signal: AbortSignal | undefined, size = SMALL): Promise<SampleMedium> {
  const { modality } = part;
  const name = typeof part.source === "string" ? basename(part.source) : describe(part.source);
  const plain = { modality, name: name.slice(0, 80), pictures: [], curves: [] };
  try {
    const { pictures = [], curves = [], seconds } = (await kindOf(part)?.preview?.(part, { ...(signal && { signal }) })) ?? {};
    const small = await Promise.all(pictures.map((picture) => thumbnail(picture, pictures.length > 1 ? size.several : size.alone)));
    return { ...plain, pictures: small, curves: curves.map(rounded), ...(seconds !== undefined && { seconds }) };
  } catch {
    signal?.throwIfAborted();
    return plain;
  }
}

async function thumbnail({ data, width, height }: Pixels, [most, tall]: ShownSize["alone"]): Promise<string> {
  const webp = await sharpFor("a picture of the page")(data, { raw: { width, height, channels: 3 } })
    .resize({ width: most, height: tall, fit: "inside", withoutEnlargement: true })
    .webp({ quality: 80 })
    .toBuffer();
  return `data:image/webp;base64,${webp.toString("base64")}`;
}

const rounded = ({ lines, ...curve }: Curve): Curve => ({
  ...curve,
  lines: lines.map((line) => line.map((v) => Number(v.toPrecision(4)))),
});
