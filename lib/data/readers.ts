// Published data sets whose files are no rows yet: each by its own layout, as rows of captions and conversations. Media lie under the names that the
// publishers give them, where paths of the file begin.
import { readPlain } from "../core/plain-file.js";
import { reasonOf } from "../media/error.js";
import type { Kinds } from "../media/kinds/index.js";
import { audiosetRecords } from "./audioset.js";
import { documentRow } from "./documents.js";
import type { Fields } from "./messages.js";
import { obelicsRecords } from "./obelics.js";
import { type DataRecord, isFields, recordsOf } from "./records.js";
import { DataError } from "./row.js";
import { laionRecords } from "./url-tables.js";

/** How a data set is read; a row may come of each entry of its file, or several. */
export interface NamedReader {
  /** For people: what it is of, and where its media lie. */
  readonly about: string;
  /** Rows of one record of a table, of JSONL or of a JSON list. */
  readonly entry?: (fields: Fields) => Fields[];
  /** Of a file that is one JSON object. */
  readonly whole?: (content: Fields) => Iterable<Fields>;
  /** Of a file that says nothing alone, whose neighbours belong to it. */
  readonly records?: (path: string, signal?: AbortSignal) => AsyncGenerator<DataRecord | DataError>;
}

const listed = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const list = (value: unknown): Fields[] => listed(value).filter(isFields);
const asked = (image: string, question: unknown, answer: unknown): Fields => ({ image, question: `<image>\n${String(question)}`, answer });
/** Seconds of a window, within a clip. */
const window = (path: string, start: number, seconds: number): Fields => ({ path, start: Math.max(0, start), seconds });

/** Around the moment that a narration tells: IMU2CLIP's five seconds (arXiv 2210.14395, section 3). */
const NARRATED = 5;

export const READERS = {
  clotho: {
    about: "Clotho's clotho_captions_*.csv: a sound and five captions a line, a row each; sounds under their file_name",
    entry: (fields) =>
      [1, 2, 3, 4, 5].flatMap((n) => (fields[`caption_${n}`] ? [{ audio: fields.file_name, caption: fields[`caption_${n}`] }] : [])),
  },
  audiocaps: {
    about: "AudioCaps' train.csv: ten seconds of a film from start_time on and a caption; whole sound tracks as YOUTUBE_ID.wav",
    entry: ({ youtube_id: id, start_time: start, caption }) => [{ audio: window(`${id}.wav`, Number(start), 10), caption }],
  },
  audioset: {
    about:
      "AudioSet's *_segments.csv beside class_labels_indices.csv or ontology.json: what is heard from start to end; whole sound tracks as YTID.wav",
    records: audiosetRecords,
  },
  "coco-captions": {
    about: "COCO's captions_*.json: { images, annotations }, a row for each caption; pictures under their file_name",
    *whole({ images, annotations }) {
      const names = new Map(list(images).map(({ id, file_name: name }) => [id, name]));
      for (const { image_id: id, caption } of list(annotations)) yield { image: names.get(id), caption };
    },
  },
  karpathy: {
    about:
      "Karpathy's dataset_coco.json or dataset_flickr30k.json: the training split (train and restval), a row for each sentence; pictures as filepath/filename",
    *whole({ images }) {
      for (const { filepath, filename, split, sentences } of list(images))
        if (split === "train" || split === "restval")
          for (const { raw } of list(sentences)) yield { image: filepath ? `${filepath}/${filename}` : filename, caption: raw };
    },
  },
  "visual-genome-regions": {
    about:
      "Visual Genome's region_descriptions.json: a question about a box (x, y, width, height in pixels) and its phrase; pictures as VG_100K/ID.jpg",
    entry: ({ id, regions }) =>
      list(regions).map(({ phrase, x, y, width, height, image_id: own }) =>
        asked(`VG_100K/${own ?? id}.jpg`, `What is in the box [${[x, y, width, height].join(", ")}]?`, phrase),
      ),
  },
  "visual-genome-qa": {
    about: "Visual Genome's question_answers.json: questions about pictures; pictures as VG_100K/ID.jpg",
    entry: ({ id, qas }) => list(qas).map(({ question, answer, image_id: own }) => asked(`VG_100K/${own ?? id}.jpg`, question, answer)),
  },
  howto100m: {
    about: "HowTo100M's caption.json: what is said from start to end, by film; films as VIDEO_ID.mp4",
    *whole(content) {
      for (const [id, said] of Object.entries(content)) {
        if (!isFields(said)) continue;
        const [starts, ends] = [said.start, said.end].map((one) => (Array.isArray(one) ? one.map(Number) : [])) as [number[], number[]];
        for (const [i, text] of listed(said.text).entries()) {
          if (typeof text !== "string") continue; // its times stand at its own place all the same
          const [from, to] = [starts[i] as number, ends[i] as number];
          yield { video: window(`${id}.mp4`, from, to - from), caption: text };
        }
      }
    },
  },
  "ego4d-narrations": {
    about: "Ego4D's narration.json: five seconds around each moment that is narrated (#C C …), those of #unsure left out; films as UID.mp4",
    *whole({ videos }) {
      for (const [uid, passes] of Object.entries(isFields(videos) ? videos : {}))
        for (const pass of ["narration_pass_1", "narration_pass_2"]) {
          const own = isFields(passes) ? passes[pass] : undefined;
          for (const { timestamp_sec: at, narration_text: text } of list(isFields(own) ? own.narrations : undefined)) {
            if (typeof text !== "string" || /#unsure/i.test(text)) continue;
            yield { video: window(`${uid}.mp4`, Number(at) - NARRATED / 2, NARRATED), caption: text.replace(/^#\S+\s+/, "") };
          }
        }
    },
  },
  mmc4: {
    about:
      "Multimodal C4's documents: sentences with pictures before those that they match, as exchanges of pictures and the text up to the next; pictures under their image_name",
    entry: ({ text_list: sentences, image_info: infos }) => {
      const before = new Map<unknown, string[]>();
      for (const { image_name: name, matched_text_index: at } of list(infos)) before.set(at, [...(before.get(at) ?? []), String(name)]);
      const pieces = listed(sentences).flatMap((sentence, i) =>
        typeof sentence === "string" ? [...(before.get(i) ?? []).map((image) => ({ image })), sentence] : [],
      );
      const row = documentRow(pieces, " ");
      return row ? [row] : [];
    },
  },
  obelics: {
    about:
      "OBELICS' Parquet documents: images and texts in turns, as exchanges of pictures and the text up to the next; pictures fetched by img2dataset, or as paths or bytes",
    records: obelicsRecords,
  },
  laion: {
    about: "LAION's tables of URL and TEXT, or img2dataset's own 00000.parquet: a row for each picture that img2dataset has fetched",
    records: laionRecords,
  },
} as const satisfies Readonly<Record<string, NamedReader>>;
export type ReaderName = keyof typeof READERS;

/** Bytes of a file that is one object: COCO's captions have a fifth. */
const MOST_WHOLE = 448 << 20;

/** The rows of a published file, as records of known layouts. Throws E_DATA where it is not the reader's. */
export async function* namedRecords(
  path: string,
  name: ReaderName,
  kinds: Kinds,
  signal?: AbortSignal,
): AsyncGenerator<DataRecord | DataError> {
  const reader: NamedReader = READERS[name];
  let rows = 0;
  if (reader.records)
    for await (const record of reader.records(path, signal)) {
      rows += record instanceof DataError ? 0 : 1;
      yield record;
    }
  else if (reader.entry)
    for await (const record of recordsOf(path, signal, kinds)) {
      if (record instanceof DataError) yield record;
      else
        for (const fields of reader.entry(record.fields)) {
          ++rows;
          yield { number: record.number, fields };
        }
    }
  else
    for (const fields of reader.whole?.(await wholeOf(path, reader)) ?? []) {
      signal?.throwIfAborted();
      yield { number: ++rows, fields };
    }
  if (!rows) throw other(path, reader, "nothing of it");
}

async function wholeOf(path: string, reader: NamedReader): Promise<Fields> {
  const text = (await readPlain(path, { most: MOST_WHOLE })).toString("utf8");
  let content: unknown;
  try {
    content = JSON.parse(text);
  } catch (cause) {
    throw other(path, reader, `text that does not parse (${reasonOf(cause)})`, cause);
  }
  if (!isFields(content)) throw other(path, reader, Array.isArray(content) ? "a list" : "no object");
  return content;
}

const other = (path: string, { about }: NamedReader, got: string, cause?: unknown): DataError =>
  new DataError("E_DATA", path, undefined, about, got, "name the reader whose file it is, or leave `as` out", { cause });
