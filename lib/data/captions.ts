// Captions: one medium and what it shows, a row each. As rows for training: a request to describe the medium, then the caption.
import { checkOptions, optionNames } from "../core/options.js";
import type { MediaPart, Modality } from "../media/part.js";
import { hasMark } from "./marks.js";
import { MEDIA_FILE_OPTIONS, type MediaFileOptions, MediaFiles, MODALITIES } from "./media-files.js";
import { BAD_ROW_OPTIONS, type BadRowOptions, collect, type DataRecord, keysOf, recordsOf, shown } from "./records.js";
import { DataError, type Row, whereOf } from "./row.js";
import { Draw } from "./world/draw.js";

/** What a row of captions is asked with; "" asks nothing, the medium stands alone. */
export const CAPTION_PROMPTS: Readonly<Record<Modality, readonly string[]>> = {
  image: ["Describe the image.", "What does the image show?", "Give a caption of the image."],
  video: ["Describe the video.", "What happens in the video?", "Give a caption of the video."],
  audio: ["Describe the sound.", "What can be heard?", "Give a caption of the sound."],
  imu: ["Describe the motion.", "What does the wearer of the sensor do?", "Give a caption of the motion."],
};

export interface CaptionOptions extends MediaFileOptions, BadRowOptions {
  /** The column to take, where rows name several; then a column file_name or path will do too. Default: the one each row has. */
  modality?: Modality;
  /** One of them asks each row; which one depends on the seed and the row's number alone. */
  prompts?: readonly string[];
  seed?: number;
}

const OPTIONS = optionNames<CaptionOptions>({
  ...MEDIA_FILE_OPTIONS,
  ...BAD_ROW_OPTIONS,
  ...({ modality: true, prompts: true, seed: true } as const),
});

/** JSONL, a JSON list or CSV with a column image, video, audio or imu, and a column caption or text. */
export async function readCaptions(path: string, options: CaptionOptions = {}): Promise<Row[]> {
  checkOptions("readCaptions", options, OPTIONS);
  const { modality } = options;
  if (modality !== undefined && !MODALITIES.includes(modality))
    throw new DataError("E_DATA", path, undefined, `one of ${MODALITIES.join(", ")} as modality`, shown(modality), "name one of these");
  const files = new MediaFiles(path, options);
  if (options.prompts && !options.prompts.length)
    throw new DataError("E_DATA", path, undefined, "at least one prompt", "none", 'pass prompts: [""] to ask nothing');
  return collect(
    path,
    columnsChecked(path, recordsOf(path, options.signal), options),
    (record) => row(path, record, files, options),
    options,
  );
}

const CAPTION_COLUMNS = ["caption", "text"];
const mediaColumns = (modality: Modality | undefined): readonly string[] => (modality ? [modality, "file_name", "path"] : MODALITIES);

/** A column that a CSV lacks is missing in every row: said once, of the file. */
async function* columnsChecked(path: string, records: AsyncIterable<DataRecord | DataError>, { modality }: CaptionOptions) {
  let first = true;
  for await (const record of records) {
    if (first && !(record instanceof DataError) && record.table) {
      first = false;
      for (const columns of [mediaColumns(modality), CAPTION_COLUMNS])
        if (!columns.some((name) => name in record.fields)) {
          const wanted = `a column ${columns.slice(0, -1).join(", ")} or ${columns.at(-1)}`;
          throw new DataError("E_DATA", path, undefined, wanted, keysOf(record.fields), "name the columns in the first line");
        }
    }
    yield record;
  }
}

async function row(path: string, { number, fields }: DataRecord, files: MediaFiles, options: CaptionOptions): Promise<Row> {
  const wrong = (expected: string, got: string, remedy: string) => new DataError("E_ROW", path, number, expected, got, remedy);
  const caption = CAPTION_COLUMNS.map((name) => fields[name]).find((value) => value !== undefined);
  if (typeof caption !== "string" || !caption.trim())
    throw wrong("a caption", caption === undefined ? keysOf(fields) : shown(caption), "add a caption or text with words");
  const mark = hasMark(caption);
  if (mark) throw wrong("a caption of words", mark, "marks of media belong into conversations");
  const columns = mediaColumns(options.modality).filter(
    (name) => fields[name] !== undefined && fields[name] !== null && fields[name] !== "",
  );
  const [column] = columns;
  if (!column) throw wrong(`one of ${mediaColumns(options.modality).join(", ")}`, keysOf(fields), "name the medium's file");
  if (columns.length > 1 && !options.modality) throw wrong("one medium", columns.join(" and "), "pass modality, or write a row for each");
  const modality = options.modality ?? (column as Modality);
  const prompts = options.prompts ?? CAPTION_PROMPTS[modality];
  const prompt = new Draw(options.seed ?? 0, String(number)).pick(prompts);
  const medium: MediaPart = await files.part(modality, fields[column], number);
  return {
    where: whereOf(path, number),
    turns: [
      { role: "user", content: prompt ? [prompt, medium] : [medium] },
      { role: "assistant", content: [caption.trim()] },
    ],
  };
}
