// What is known of media in words: captions, and things with their places, as LLaVA tells them to a model that sees nothing.
import { dirname } from "node:path";
import { boxText } from "../../data/boxes.js";
import type { TrainingData } from "../../data/mixture.js";
import { openRows } from "../../data/open-rows.js";
import { readAnnotations } from "../../data/referential/annotations.js";
import type { MarkedPicture } from "../../data/referential/picture.js";
import { named, PicturePlaces } from "../../data/referential/write.js";
import { DataError, mediaOf } from "../../data/row.js";
import type { Modality } from "../../media/part.js";
import { isMediaSource, pathOf } from "../../media/source.js";

export interface DescribedMedium {
  modality: Modality;
  /** The medium's file. */
  path: string;
  captions: readonly string[];
  /** "dog: [0.100,0.200,0.500,0.900]", "dog on sofa". */
  things: readonly string[];
}

export interface DescribedOptions {
  /** Captions, a row each, of any kind of media; several rows may speak of one medium. */
  captions?: TrainingData | undefined;
  /** Things and places in COCO's layout, or in one of the others that readAnnotations() knows. */
  annotations?: string | undefined;
  /** Where the annotations' pictures lie. Default: the folder of the annotations. */
  images?: string | undefined;
  /** Of annotations, as readAnnotations() takes them. */
  beside?: string | undefined;
  split?: string | undefined;
  /** Where rows will be written, for messages. */
  output: string;
  onProblem?: ((problem: DataError) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** All media that are spoken of, in the order in which they come first: captions and annotations of one file are put together. */
export async function described(options: DescribedOptions): Promise<DescribedMedium[]> {
  const { captions, annotations, beside, split, onProblem, signal } = options;
  const media = new Map<string, { modality: Modality; captions: string[]; things: string[] }>();
  const of = (path: string, modality: Modality) => {
    const known = media.get(path) ?? { modality, captions: [], things: [] };
    media.set(path, known);
    return known;
  };
  const told = (problem: unknown): void => {
    if (!(problem instanceof DataError && problem.code === "E_ROW" && onProblem)) throw problem;
    onProblem(problem);
  };
  if (captions !== undefined) {
    const rows = await openRows(captions, { ...(onProblem && ({ onBadRow: "skip", onProblem } as const)), ...(signal && { signal }) });
    try {
      for (let i = 0; i < rows.length; ++i) {
        signal?.throwIfAborted();
        try {
          const row = await rows.row(i);
          const [medium, ...others] = mediaOf(row);
          const source = medium && isMediaSource(medium.source) ? pathOf(medium.source) : undefined;
          if (!medium || others.length || source === undefined)
            throw new DataError("E_ROW", row.where, undefined, "one medium in a file of its own", "another row", "unpack it first");
          const said = row.turns.flatMap(({ role, content }) => (role === "assistant" ? content : []));
          of(source, medium.modality).captions.push(said.join(" ").trim());
        } catch (error) {
          told(error);
        }
      }
    } finally {
      await rows.close();
    }
  }
  if (annotations !== undefined) {
    const places = new PicturePlaces(annotations, options.images ?? dirname(annotations), options.output);
    for await (const picture of readAnnotations(annotations, { beside, split, onProblem, signal })) {
      if (named(places, picture, { onProblem }) === undefined) continue;
      of(places.path(picture), "image").things.push(...thingsOf(picture));
    }
  }
  return Array.from(media, ([path, rest]) => ({ path, ...rest }));
}

function thingsOf(picture: MarkedPicture): string[] {
  const { objects, relations = [], regions = [] } = picture;
  const names = new Map(objects.map(({ id, name }) => [id, name]));
  return [
    ...objects.flatMap(({ name, box, ignore }) => (name === undefined || ignore ? [] : [`${name}: ${boxText(box, picture)}`])),
    ...relations.flatMap(({ subject, predicate, object }) => {
      const [a, b] = [names.get(subject), names.get(object)];
      return a === undefined || b === undefined ? [] : [`${a} ${predicate} ${b}`];
    }),
    ...regions.map(({ text, box }) => `${text}: ${boxText(box, picture)}`),
  ];
}

/** As the model reads it: a sentence a line, and a line for each thing. */
export const descriptionOf = ({ captions, things }: DescribedMedium): string =>
  [captions.join("\n"), things.join("\n")].filter((part) => part).join("\n\n");
