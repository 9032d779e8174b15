// Referential questions as a file of conversations in LLaVA's layout, JSONL, which training reads as it is.
import { mkdir } from "node:fs/promises";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { onFile } from "../../core/file-error.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { Turns } from "../../core/turns.js";
import { writeWhole } from "../../io/whole-file.js";
import { DataError } from "../row.js";
import { type AnnotationOptions, readAnnotations } from "./annotations.js";
import type { MarkedPicture } from "./picture.js";
import { type Referential, type ReferentialOptions, referential } from "./tasks.js";

/** A row of one question, and what is needed to score its answer. `image`: as the file of rows names it. */
export function referentialRow(
  id: string,
  image: string,
  { width, height }: MarkedPicture,
  { task, question, answer, box }: Referential,
): object {
  const conversations = [
    { from: "human", value: `<image>\n${question}` },
    { from: "gpt", value: answer },
  ];
  return { id, image, task, ...(box && { box, width, height }), conversations };
}

/** Where annotations' pictures lie, and how a file of rows names them. */
export class PicturePlaces {
  readonly #images: string;
  constructor(
    private readonly annotations: string,
    images: string,
    private readonly output: string,
  ) {
    this.#images = resolve(images);
  }
  /** Throws E_ROW on a picture that would lie outside of the pictures' folder. */
  path({ image }: MarkedPicture): string {
    const path = resolve(this.#images, image);
    const way = relative(this.#images, path);
    if (way && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way)) return path;
    throw new DataError(
      "E_ROW",
      this.annotations,
      undefined,
      `a picture inside of ${this.#images}`,
      image,
      "see who wrote the annotations",
      {
        column: "image",
      },
    );
  }
  row(picture: MarkedPicture): string {
    return relative(dirname(resolve(this.output)), this.path(picture))
      .split(sep)
      .join("/");
  }
}

/** Writes lines one after the other; the file appears whole, in a folder that is made. */
export async function writeLines(path: string, lines: (add: (row: object) => Promise<void>) => Promise<void>): Promise<void> {
  await onFile("to be written", path, () => mkdir(dirname(resolve(path)), { recursive: true }));
  await writeWhole(path, async (file) => {
    let text = "";
    await lines(async (row) => {
      text += `${JSON.stringify(row)}\n`;
      if (text.length < 1 << 16) return;
      await file.write(text);
      text = "";
    });
    await file.write(text);
  });
}

export interface WriteReferentialOptions extends ReferentialOptions, AnnotationOptions {
  /** The folder of the pictures. Default: that of the annotations. */
  images?: string;
}
const OPTIONS = optionNames<WriteReferentialOptions>({
  ...{ tasks: true, most: true, seed: true, square: true, images: true },
  ...{ beside: true, split: true, onProblem: true, signal: true },
});

/** Rows of all tasks that a file of annotations allows, and how many of each. The same options give the same bytes. */
export async function writeReferential(
  annotations: string,
  output: string,
  options: WriteReferentialOptions = {},
): Promise<Record<string, number>> {
  checkOptions("writeReferential", options, OPTIONS);
  const { tasks, most, seed, square, images = dirname(annotations), ...reading } = options;
  const places = new PicturePlaces(annotations, images, output);
  const counts: Record<string, number> = {};
  await writeLines(output, async (add) => {
    const turns = new Turns();
    let pictures = 0;
    for await (const picture of readAnnotations(annotations, reading)) {
      const image = named(places, picture, options);
      if (image === undefined) continue;
      const asking = { ...(tasks && { tasks }), ...(most && { most }), ...(seed !== undefined && { seed }), square };
      for (const [i, one] of referential(picture, asking).entries()) {
        counts[one.task] = (counts[one.task] ?? 0) + 1;
        await add(referentialRow(`${pictures}-${i}`, image, picture, one));
      }
      ++pictures;
      await turns.next();
    }
  });
  return counts;
}

/** undefined of a picture that was told to be wrong. */
export function named(places: PicturePlaces, picture: MarkedPicture, { onProblem }: AnnotationOptions): string | undefined {
  try {
    return places.row(picture);
  } catch (error) {
    if (!(error instanceof DataError && onProblem)) throw error;
    onProblem(error);
    return undefined;
  }
}
