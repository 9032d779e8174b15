// What a bridge is told of the question: the text that stands beside a medium, in ids of a tokenizer of the bridge's own (InstructBLIP's qformer_tokenizer). Its
// files are kept as they were read, so that a checkpoint holds them.
import { existsSync } from "node:fs";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { readPlain } from "../core/plain-file.js";
import type { Turn } from "../data/row.js";
import { writeNew } from "../io/whole-file.js";
import type { MediaPart, Modality } from "../media/part.js";
import type { Bridge } from "../models/bridges/kind.js";
import { Tokenizer } from "../text/tokenizer.js";
import { CheckpointError } from "./checkpoint-error.js";
import type { Features } from "./media-encoder.js";
import { type Written, writtenAround } from "./written.js";

/** Of what a tokenizer is read from; a chat template has no part in it. */
const FILES = ["tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json"];
/** Bytes of one of them. */
const LARGEST = 64 * 2 ** 20;

export class QuestionReader {
  private constructor(
    readonly tokenizer: Tokenizer,
    private readonly files: ReadonlyMap<string, Uint8Array>,
  ) {}

  static async open(folder: string, signal?: AbortSignal): Promise<QuestionReader> {
    const tokenizer = await Tokenizer.load(folder, { signal });
    const files = new Map<string, Uint8Array>();
    for (const name of FILES.filter((one) => existsSync(join(folder, one))))
      files.set(name, await readPlain(join(folder, name), { most: LARGEST, linksInside: true }));
    return new QuestionReader(tokenizer, files);
  }

  /** Throws E_MODALITY where the bridge has no row for one of its tokens. */
  checkFor(modality: Modality, { question }: Bridge): void {
    const { vocabSize } = this.tokenizer;
    if (question && vocabSize > question.vocabulary)
      throw expected(
        "E_MODALITY",
        `modalities.${modality}.question`,
        `a tokenizer of at most ${question.vocabulary} tokens, the rows of the bridge's table`,
        vocabSize,
        `take the tokenizer that it was made for, or say projector.vocabulary: ${vocabSize} of a fresh one`,
      );
  }

  /** At most `most`: what does not fit goes from the end of the text, and the last control token stays. */
  ids(text: string, most: number): number[] {
    return cutIds(this.tokenizer.encode(text), most, this.tokenizer);
  }

  /** Into a folder that is not there yet. */
  async save(folder: string): Promise<void> {
    await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
    for (const [name, bytes] of this.files) await writeNew(join(folder, name), (file) => file.writeFile(bytes));
  }

  /** Do both read alike? */
  same(other: QuestionReader): boolean {
    return (
      this.files.size === other.files.size &&
      [...this.files].every(([name, bytes]) => Buffer.compare(bytes, other.files.get(name) ?? NONE) === 0)
    );
  }
}
const NONE = new Uint8Array();

/** At most `most`: what does not fit goes from the end of the text, and the last control token stays. */
export function cutIds(ids: readonly number[], most: number, { specialTokens }: Pick<Tokenizer, "specialTokens">): number[] {
  if (ids.length <= most) return [...ids];
  const last = ids.at(-1) as number;
  return new Set(specialTokens.values()).has(last) ? [...ids.slice(0, most - 1), last] : ids.slice(0, most);
}

/** A published folder without it would be another model: one that is told nothing. */
export async function questionIn(folder: string, name: string, signal?: AbortSignal): Promise<QuestionReader> {
  const place = join(folder, name);
  if (existsSync(place) && (await readdir(place).catch(() => [])).some((file) => FILES.includes(file)))
    return QuestionReader.open(place, signal);
  throw new CheckpointError(
    folder,
    `${name}/, the tokenizer by which its Q-Former reads the question`,
    "none",
    `fetch ${name}/ from the model's repository: without it the model would not be told what it is asked`,
  );
}

/** Ids of what a medium of this kind is asked; undefined where its bridge is told nothing. */
export type Asking = (modality: Modality, text: string) => readonly number[] | undefined;

/** Of a model. */
export const askingOf =
  (model: { projector(modality: Modality): Bridge; readonly questions: ReadonlyMap<Modality, QuestionReader> }): Asking =>
  (modality, text) => {
    const { question } = model.projector(modality);
    return question && model.questions.get(modality)?.ids(text, question.positions);
  };

/** Of each medium in reading order: the text of the turn that it stands in, without what the prompt's format writes around it. */
export function questionsOf(turns: readonly Turn[], written: Written): string[] {
  const mediaIn = (content: Turn["content"]) => content.filter((part): part is MediaPart => typeof part !== "string");
  const isWritten = writtenAround(
    written,
    turns.reduce((n, { content }) => n + mediaIn(content).length, 0),
  );
  return turns.flatMap(({ content }) => {
    const text = content.filter((part): part is string => typeof part === "string" && !isWritten(part));
    return mediaIn(content).map(() => text.join("").trim());
  });
}

/** What a medium's rows are made of: its features, and the question where its bridge reads it. Equal ones are one object. */
export function rowsMadeOf(features: Features, question: readonly number[] | undefined): object {
  if (!question) return features;
  const known = asked.get(features) ?? new Map<string, object>();
  asked.set(features, known);
  const key = question.join();
  const made = known.get(key) ?? {};
  known.set(key, made);
  return made;
}
const asked = new WeakMap<Features, Map<string, object>>();
