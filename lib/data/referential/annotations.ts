// Marks of published data sets as pictures with objects, relations and regions: COCO and Objects365, RefCOCO beside COCO's instances, Visual Genome.
import { isObject, shown } from "../../core/checks.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { reasonOf } from "../../media/error.js";
import type { Box, PictureSize } from "../boxes.js";
import { firstLine } from "../lines.js";
import { recordsOf } from "../records.js";
import { DataError } from "../row.js";
import { listedEntries } from "./object-lists.js";
import type { MarkedObject, MarkedPicture, MarkedRegion, MarkedRelation } from "./picture.js";

type Json = Readonly<Record<string, unknown>>;

export interface AnnotationOptions {
  /** RefCOCO: COCO's instances.json. Visual Genome: image_data.json, which has the sizes. */
  beside?: string | undefined;
  /** RefCOCO: only those of a split, such as "train". */
  split?: string | undefined;
  /** Is told of entries that are wrong; without it the first one ends the reading. */
  onProblem?: ((problem: DataError) => void) | undefined;
  signal?: AbortSignal | undefined;
}
const OPTIONS = optionNames<AnnotationOptions>({ beside: true, split: true, onProblem: true, signal: true });

/** Of one entry; `fail` says what is wrong with it. */
class Entry {
  constructor(
    private readonly path: string,
    private readonly number: number,
    readonly json: Json,
  ) {}
  fail(expected: string, got: unknown, column?: string): never {
    throw new DataError(
      "E_ROW",
      this.path,
      this.number,
      expected,
      typeof got === "string" && column === undefined ? got : shown(got),
      "see the data set's own files",
      { column },
    );
  }
  numberIn(json: Json, key: string): number {
    const value = json[key];
    return typeof value === "number" && Number.isFinite(value) ? value : this.fail("a number", value, key);
  }
  /** [x, y, width, height] as corners. */
  box(x: number, y: number, width: number, height: number): Box {
    if (!(width >= 0 && height >= 0)) this.fail("a box of a width and a height of 0 or more", `${width} and ${height}`);
    return [x, y, x + width, y + height];
  }
  list(json: Json, key: string): Json[] {
    const value = json[key];
    return Array.isArray(value) && value.every(isObject) ? value : this.fail("a list of objects", value, key);
  }
}

/**
 * Pictures of a file of annotations, told by what its entries hold: `images`, `annotations` and `categories` (COCO, Objects365); `sentences` (RefCOCO's refs as
 * JSON, with COCO's instances in `beside`); `objects`, `relationships` or `regions` (Visual Genome, with image_data.json in `beside`). A picture of COCO's has
 * all its objects, of Visual Genome what the one file says. Throws E_DATA where a file is none of these or `beside` is missing, E_ROW on a bad entry.
 */
export async function* readAnnotations(path: string, options: AnnotationOptions = {}): AsyncGenerator<MarkedPicture> {
  checkOptions("readAnnotations", options, OPTIONS);
  const { signal, onProblem } = options;
  const told = (error: unknown): undefined => {
    if (!(error instanceof DataError && error.code === "E_ROW" && onProblem)) throw error;
    onProblem(error);
  };
  const kept = <T>(make: () => T): T | undefined => {
    try {
      return make();
    } catch (error) {
      return told(error);
    }
  };
  const beside = (what: string): string => {
    if (options.beside !== undefined) return options.beside;
    throw new DataError("E_DATA", path, undefined, what, "none", "pass its path as beside");
  };
  if (await isList(path, signal)) {
    let known: Known | undefined;
    for await (const record of recordsOf(path, signal)) {
      if (record instanceof DataError) {
        told(record);
        continue;
      }
      const { fields: json } = record;
      const entry = new Entry(path, record.number, json);
      if ("sentences" in json) {
        known ??= await instances(beside("COCO's instances.json, which has the boxes"), kept, signal);
        if (options.split === undefined || json.split === options.split) yield* some(kept(() => referred(entry, known as Known)));
      } else if ("objects" in json || "relationships" in json || "regions" in json) {
        known ??= await genomeSizes(beside("image_data.json, which has the pictures' sizes"), signal);
        yield* some(kept(() => genome(entry, known as Known)));
      } else
        throw new DataError(
          "E_DATA",
          path,
          record.number,
          "sentences (RefCOCO), or objects, relationships or regions (Visual Genome)",
          Object.keys(json).slice(0, 8).join(", ") || "no keys",
          "pass one of these files",
        );
    }
    return;
  }
  const { pictures } = await instances(path, kept, signal);
  if (!pictures.size) throw new DataError("E_DATA", path, undefined, "images and annotations", "none", "pass a file in COCO's layout");
  yield* pictures.values();
}

function* some<T>(one: T | undefined): Generator<T> {
  if (one !== undefined) yield one;
}

async function isList(path: string, signal: AbortSignal | undefined): Promise<boolean> {
  signal?.throwIfAborted();
  const line = await firstLine(path);
  if (line === undefined) throw new DataError("E_DATA", path, undefined, "annotations in JSON", "an empty file", "fetch it again");
  return line.startsWith("[");
}

/** What a file beside holds. */
interface Known {
  pictures: Map<number, MarkedPicture>;
  /** COCO's, by annotation. */
  boxes: Map<number, Box>;
}

/** COCO's and Objects365's: boxes are [x, y, width, height]. */
async function instances(path: string, kept: <T>(make: () => T) => T | undefined, signal?: AbortSignal): Promise<Known> {
  const pictures = new Map<number, MarkedPicture & { objects: MarkedObject[] }>();
  const boxes = new Map<number, Box>();
  const names = new Map<number, string>();
  const found: { picture: number; category: number; object: MarkedObject }[] = [];
  for await (const { key, number, text } of listedEntries(path, signal)) {
    if (key !== "images" && key !== "annotations" && key !== "categories") continue;
    kept(() => {
      const entry = new Entry(path, number, {});
      const json = parsed(entry, text, key);
      const id = entry.numberIn(json, "id");
      if (key === "categories") return void (typeof json.name === "string" && names.set(id, json.name));
      if (key === "images") {
        const image = typeof json.file_name === "string" ? json.file_name : entry.fail("the picture's file", json.file_name, "file_name");
        return void pictures.set(id, { image, width: entry.numberIn(json, "width"), height: entry.numberIn(json, "height"), objects: [] });
      }
      const { bbox } = json;
      if (!(Array.isArray(bbox) && bbox.length === 4 && bbox.every(Number.isFinite))) entry.fail("[x, y, width, height]", bbox, "bbox");
      const box = entry.box(...(bbox as [number, number, number, number]));
      boxes.set(id, box);
      const ignore = [json.iscrowd, json.ignore, json.isfake].some((flag) => flag === 1 || flag === true);
      found.push({ picture: entry.numberIn(json, "image_id"), category: Number(json.category_id), object: { id, box, ignore } });
    });
  }
  // Categories may come behind what they name.
  for (const { picture, category, object } of found) pictures.get(picture)?.objects.push({ ...object, name: names.get(category) });
  return { pictures, boxes };
}

function parsed(entry: Entry, text: string, key: string): Json {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    entry.fail(`an entry of ${key} that parses`, reasonOf(cause));
  }
  return isObject(json) ? json : entry.fail(`an object in ${key}`, json, key);
}

/** Of RefCOCO: an object by the sentences that people said of it. */
function referred(entry: Entry, { pictures, boxes }: Known): MarkedPicture {
  const { json } = entry;
  const picture = pictures.get(entry.numberIn(json, "image_id"));
  const box = boxes.get(entry.numberIn(json, "ann_id"));
  if (!picture || !box)
    entry.fail("a picture and an object of the instances", picture ? json.ann_id : json.image_id, picture ? "ann_id" : "image_id");
  const regions = entry.list(json, "sentences").map(({ sent, raw }): MarkedRegion => {
    const text = [sent, raw].find((one) => typeof one === "string" && one.trim());
    return { text: typeof text === "string" ? text.trim() : entry.fail("a sentence", sent, "sentences"), box };
  });
  const { image, width, height } = picture;
  // Objects of the whole picture are the instances' own: read that file for tasks about them.
  return { image, width, height, objects: [], regions };
}

async function genomeSizes(path: string, signal: AbortSignal | undefined): Promise<Known> {
  const pictures = new Map<number, MarkedPicture>();
  for await (const record of recordsOf(path, signal)) {
    if (record instanceof DataError) throw record;
    const entry = new Entry(path, record.number, record.fields);
    const id = Number(record.fields.image_id ?? record.fields.id);
    pictures.set(id, { image: fileOf(record.fields, id), ...sizeOf(entry, record.fields), objects: [] });
  }
  return { pictures, boxes: new Map() };
}
const sizeOf = (entry: Entry, json: Json): PictureSize => ({
  width: entry.numberIn(json, "width"),
  height: entry.numberIn(json, "height"),
});
/** Pictures lie in two folders, VG_100K and VG_100K_2; the address says in which. */
const fileOf = ({ url }: Json, id: number): string =>
  (typeof url === "string" && /(VG_100K(?:_2)?\/[\w.-]+)$/.exec(url)?.[1]) || `VG_100K/${id}.jpg`;

function genome(entry: Entry, { pictures }: Known): MarkedPicture {
  const { json } = entry;
  const id = Number(json.image_id ?? json.id);
  const picture = pictures.get(id);
  if (!picture) return entry.fail("a picture of image_data.json", id, "image_id");
  const objects = new Map<number, MarkedObject>();
  const object = (one: Json): number => {
    const own = entry.numberIn(one, "object_id");
    const [name] = [one.name, one.names].flat().filter((word): word is string => typeof word === "string" && word.trim() !== "");
    objects.set(own, { id: own, name: name?.trim(), box: sided(entry, one, "w", "h") });
    return own;
  };
  if ("objects" in json) entry.list(json, "objects").forEach(object);
  const relations =
    "relationships" in json
      ? entry.list(json, "relationships").flatMap(({ predicate, subject, object: other }): MarkedRelation[] => {
          if (!isObject(subject) || !isObject(other)) return entry.fail("a subject and an object", subject, "relationships");
          const ends = { subject: object(subject), object: object(other) };
          return typeof predicate === "string" && predicate.trim() ? [{ ...ends, predicate: predicate.trim().toLowerCase() }] : [];
        })
      : [];
  const regions =
    "regions" in json
      ? entry.list(json, "regions").flatMap((one): MarkedRegion[] => {
          const { phrase } = one;
          return typeof phrase === "string" && phrase.trim() ? [{ text: phrase.trim(), box: sided(entry, one, "width", "height") }] : [];
        })
      : [];
  return { ...picture, objects: [...objects.values()], ...(relations.length && { relations }), ...(regions.length && { regions }) };
}

const sided = (entry: Entry, one: Json, width: string, height: string): Box =>
  entry.box(entry.numberIn(one, "x"), entry.numberIn(one, "y"), entry.numberIn(one, width), entry.numberIn(one, height));
