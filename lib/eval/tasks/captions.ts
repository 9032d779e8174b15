// Tasks whose answers are sentences: AudioCaps' sounds, motion of Ego4D, instructions in MM-IT's form.
import { DataError } from "../../data/row.js";
import { type CaptionDoc, captionScores } from "./scorers.js";
import { type Convention, type EvalTask, type Item, MEDIA, TEXT, TEXTS } from "./task.js";

const DOC = { references: TEXTS };
const PAPER = "AnyMAL, arXiv 2309.16058, appendix B.1";

/** Captions under the names of what they are of. */
class References {
  readonly #all = new Map<string, string[]>();
  add(key: string, caption: unknown): void {
    this.#all.set(key, [...(this.#all.get(key) ?? []), caption as string]);
  }
  of(key: string): CaptionDoc & { target: string } {
    const references = this.#all.get(key) ?? [];
    return { references, target: references[0] ?? "" };
  }
}

const SOUNDS = ["wav", "flac", "mp3", "m4a", "ogg", "opus"];
/** Seconds of a clip. */
const CLIP = 10;

export const audioCaps: EvalTask<CaptionDoc> = {
  name: "audiocaps",
  about: "one sentence about ten seconds of sound: CIDEr-D, BLEU, ROUGE-L",
  source: "AudioCaps, NAACL 2019",
  layout:
    "test.csv (audiocap_id, youtube_id, start_time, caption; or dataset/test.csv); clips as YOUTUBE_ID_START.wav or Y + YOUTUBE_ID.wav, or whole sound tracks as YOUTUBE_ID.wav, there or in test/, audio/",
  modality: "audio",
  splits: ["test", "val", "train"],
  doc: DOC,
  async *read(folder, split) {
    const references = new References();
    const clips = new Map<string, { youtube: string; start: number }>();
    for await (const record of folder.records(folder.file(`${split}.csv`, `dataset/${split}.csv`))) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const { youtube_id: youtube, start_time: start, caption } = record.fields;
      const key = `${youtube}_${Number(start)}`;
      clips.set(key, { youtube: String(youtube), start: Number(start) });
      references.add(key, caption);
    }
    for (const [key, { youtube, start }] of clips) {
      const { target, ...doc } = references.of(key);
      const at = ["", `${split}/`, "audio/", `audio/${split}/`];
      const named = (...names: string[]) =>
        at.flatMap((place) => names.flatMap((name) => SOUNDS.map((ending) => `${place}${name}.${ending}`)));
      const clip = named(key, `${youtube}_${start * 1000}`, `Y${youtube}`);
      const whole = folder.optional(...clip) === undefined && folder.optional(...named(youtube)) !== undefined;
      const places = whole ? named(youtube) : clip;
      yield { id: key, media: [{ modality: "audio", places, ...(whole && { options: { start, seconds: CLIP } }) }], doc, target };
    }
  },
  conventions: {
    anymal: {
      source: PAPER,
      ask: () => ({
        system: ["You are a multimodal assistant. Here is the sound: ", MEDIA],
        user: ["Describe the sound in one sentence."],
      }),
      maxNewTokens: 64,
      score: (answers) => captionScores(answers),
    },
  },
};

const aboutMotion = (system: string, user: string, maxNewTokens: number, source: string): Convention<CaptionDoc> => ({
  source,
  ask: () => (system ? { system: [system, MEDIA], user: [user] } : { user: [MEDIA, user] }),
  maxNewTokens,
  score: (answers) => captionScores(answers),
});

export const ego4dImu: EvalTask<CaptionDoc> = {
  name: "ego4d-imu",
  about: "what the wearer of a head-mounted motion sensor does: CIDEr-D, ROUGE-L, BLEU",
  source: "Ego4D, arXiv 2110.07058; the file's form: OneLLM, arXiv 2312.03700",
  layout:
    "imu_2000_cococap.json, COCO's form with video_uid, window_start and window_end in seconds; recordings as imu/UID.csv, or imu/UID.npy with UID_timestamps.npy",
  modality: "imu",
  doc: DOC,
  async *read(folder) {
    const names = ["imu_2000_cococap.json", "imu_cococap.json", "captions.json"];
    const { images, annotations } = await folder.lists(folder.file(...names), "images", "annotations");
    const references = new References();
    for (const { image_id: id, caption } of annotations) references.add(String(id), caption);
    for (const { id, file_name: file, video_uid: uid, window_start: from, window_end: to } of images) {
      const { target, ...doc } = references.of(String(id));
      const [start, end] = [Number(from), Number(to)];
      const cut = Number.isFinite(start) && Number.isFinite(end) && uid !== undefined;
      const whole = cut ? ["imu/", "processed_imu/", ""].flatMap((at) => ["csv", "npy"].map((ending) => `${at}${uid}.${ending}`)) : [];
      const options = cut ? { options: { start: Math.max(0, start), seconds: end - start } } : {};
      const own = [`imu/${file}`, String(file)];
      const places = whole.length ? whole : own;
      yield { id: String(id), media: [{ modality: "imu", places, ...options }], doc, target };
    }
  },
  conventions: {
    anymal: aboutMotion(
      "You are given the motion of a person as a head-mounted motion sensor measures it. Describe it in 30 words at most. Here is the motion: ",
      "Describe this motion.",
      64,
      PAPER,
    ),
    "lmms-eval": aboutMotion(
      "",
      "Describe the scene.",
      128,
      "OneLLM's IMU captions, which neither harness has; greedy, where OneLLM draws at temperature 0.1",
    ),
  },
};

interface InstructionDoc extends CaptionDoc {
  question: string;
}

export const mmIt: EvalTask<InstructionDoc> = {
  name: "mm-it",
  about: "instructions about pictures with responses that people wrote: CIDEr-D, BLEU, ROUGE-L, and a sheet for judges",
  source: "AnyMAL, arXiv 2309.16058, on MM-IT: the set itself is not published",
  layout:
    "test.jsonl or test.json: rows of image, instruction (or question) and response (or answer, or responses); pictures where image says",
  modality: "image",
  doc: { question: TEXT, ...DOC },
  async *read(folder) {
    for await (const record of folder.records(folder.file("test.jsonl", "test.json", "mm-it.jsonl", "mm-it.json"))) {
      if (record instanceof DataError) {
        yield record;
        continue;
      }
      const {
        id = record.number,
        image,
        instruction,
        question = instruction,
        response,
        answer = response,
        responses = answer,
      } = record.fields;
      const references = [responses].flat() as string[];
      const media = typeof image === "string" ? [{ modality: "image", places: [image, `images/${image}`] }] : [];
      yield {
        id: String(id),
        media,
        doc: { question: question as string, references },
        target: references[0] ?? "",
      } satisfies Item<InstructionDoc>;
    }
  },
  conventions: {
    anymal: {
      source: PAPER,
      ask: ({ question }) => ({
        system: ["You are a multimodal assistant who gives helpful and accurate answers. Here is the image: ", MEDIA],
        user: [question],
      }),
      maxNewTokens: 256,
      score: (answers) => captionScores(answers),
    },
  },
};
