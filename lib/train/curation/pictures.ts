// Pictures changed by a function of the user's: faces blurred, plates painted over. What it gives is written as PNG beside the rows, which name that then.
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { isObject } from "../../core/checks.js";
import { checkOptions, optionNames } from "../../core/options.js";
import type { Fields } from "../../data/messages.js";
import { mediaOf } from "../../data/row.js";
import { writeWhole } from "../../io/whole-file.js";
import { checkPixels, type ImagePart, loadImage, type Pixels } from "../../media/image.js";
import { sharpFor } from "../../media/libraries.js";
import type { CurationItem, CurationStep, CurationVerdict } from "./step.js";

/** What is done to a picture: another one, undefined where it stays as it is, null where its row goes. */
export type PictureEdit = (
  picture: Pixels,
  at: { number: number; signal?: AbortSignal | undefined },
) => Promise<Pixels | undefined | null> | Pixels | undefined | null;

export interface EditPicturesOptions {
  /** Below the folder of the rows. Default "edited". */
  folder?: string;
  /** What a report calls the step. Default "pictures". */
  name?: string;
}
const OPTIONS = optionNames<EditPicturesOptions>({ folder: true, name: true });
const COLUMNS = ["image", "images"];

/** Hands every picture of a row's columns image and images to `edit`. A row that has pictures elsewhere, within a message, is dropped: it could not be changed. */
export function editPictures(edit: PictureEdit, options: EditPicturesOptions = {}): CurationStep {
  checkOptions("editPictures", options, OPTIONS);
  const { folder = "edited", name = "pictures" } = options;
  return {
    name,
    async look(items, { root, signal }) {
      const verdicts: CurationVerdict[] = [];
      const one = async (item: CurationItem): Promise<CurationVerdict> => {
        const parts = mediaOf(item.row).filter((part): part is ImagePart => part.modality === "image");
        if (!parts.length) return undefined;
        const named = COLUMNS.flatMap((column) => listOf(item.fields[column]));
        if (named.length !== parts.length) return { drop: "pictures within a message, which cannot be exchanged" };
        const changed: (string | undefined)[] = [];
        for (const part of parts) {
          const made = await edit(await loadImage(part, { ...(signal && { signal }) }), { number: item.number, signal });
          if (made === null) return { drop: `a picture that ${name} refused` };
          changed.push(made && (await written(root, folder, checkPixels(made))));
        }
        return changed.some((path) => path !== undefined) ? { fields: exchanged(item.fields, changed) } : undefined;
      };
      for (const item of items) verdicts.push(await one(item));
      return verdicts;
    },
  };
}

const listOf = (value: unknown): unknown[] => (value === undefined || value === null || value === "" ? [] : [value].flat(1));

function exchanged(fields: Fields, changed: readonly (string | undefined)[]): Fields {
  let next = 0;
  const other = (value: unknown): unknown => {
    const path = changed[next++];
    if (path === undefined) return value;
    if (!isObject(value)) return path;
    const { bytes: _, path: __, ...options } = value; // of the medium
    return Object.keys(options).length ? { ...options, path } : path;
  };
  const own: Record<string, unknown> = { ...fields };
  for (const column of COLUMNS)
    if (listOf(fields[column]).length) own[column] = Array.isArray(fields[column]) ? fields[column].map(other) : other(fields[column]);
  return own;
}

/** Named by what is in it: the same picture is one file, however often it comes. */
async function written(root: string, folder: string, { data, width, height }: Pixels): Promise<string> {
  const png = await sharpFor("an edited picture")(data, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
  const path = join(folder, `${createHash("sha256").update(png).digest("hex").slice(0, 24)}.png`);
  await mkdir(join(root, folder), { recursive: true });
  await writeWhole(join(root, path), (file) => file.writeFile(png));
  return path;
}
