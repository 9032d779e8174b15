// MIC, MMICL's data (arXiv 2309.07915; github.com/HaozheZhao/MIC): instances of input_text, input_image and output_text, in whose text a character stands for each
// picture, behind the token that names it.
import type { Wrong } from "./content-parts.js";
import type { Fields } from "./messages.js";
import { shown } from "./records.js";

/** What stands for a picture: of the files, and of the code for Vicuna; its other code writes as many of them as a picture has rows. */
const PLACES = /图+|(?:<visual_embedding>)+/g;
const ONE = /图|<visual_embedding>/g;
const MARK = "<image>";

export const isMic = (fields: Fields): boolean => Object.hasOwn(fields, "input_text") && Object.hasOwn(fields, "output_text");

/** The instance as a conversation with its pictures. Throws E_ROW where pictures and their places differ in number, or the answer is a picture. */
export function micFields({ input_text: text, output_text: answer, input_image: given, output_image: made }: Fields, wrong: Wrong): Fields {
  if (typeof text !== "string") throw wrong("input_text with text", shown(text), "write what is asked");
  if (made !== undefined && made !== null && [made].flat().some((one) => one !== ""))
    throw wrong("no output_image: answers are text", shown(made), "leave the row out");
  const pictures = picturesOf(given, wrong);
  return {
    image: pictures,
    conversations: [
      { from: "human", value: marked(text, pictures.length, wrong) },
      { from: "gpt", value: answer },
    ],
  };
}

/** One, a list of them, or none; in a table the list is JSON. */
function picturesOf(given: unknown, wrong: Wrong): unknown[] {
  if (given === undefined || given === null || given === "") return [];
  if (typeof given !== "string" || !given.startsWith("[")) return [given].flat();
  try {
    return JSON.parse(given) as unknown[];
  } catch {
    throw wrong("input_image as a path or a list of paths", shown(given), "write the list as JSON");
  }
}

function marked(text: string, pictures: number, wrong: Wrong): string {
  const runs = text.match(PLACES)?.length ?? 0;
  if (!runs) return text; // pictures that no place is for stand behind it, as in all rows
  const each = [ONE, PLACES].find((places) => text.match(places)?.length === pictures);
  if (each) return text.replace(each, MARK);
  throw wrong(
    `one 图 for each picture of input_image, which names ${pictures}`,
    `${text.match(ONE)?.length ?? 0}`,
    "add what is missing, or take out what is too many",
  );
}
