// Questions put to a model, a batch at a time: the media of questions in a row about one picture are encoded once.
import { createHash } from "node:crypto";
import type { AnyMAL } from "../../anymal/anymal.js";
import { ConversationMemory } from "../../anymal/conversation-memory.js";
import { AnymalError, isOfDevice } from "../../core/errors.js";
import type { Turn } from "../../data/row.js";
import type { MediaPart } from "../../media/part.js";
import { blank } from "../controls.js";
import { type Asked, type Convention, MEDIA } from "../tasks/task.js";
import { type FoundItem, type FoundMedium, partOf } from "./items.js";
import type { Prediction } from "./predictions.js";
import type { Shown } from "./shown.js";

/** What answers: a model, or whatever answers as one does. Without scoreAnswers, options are asked for in words. */
export type Answering = Pick<AnyMAL, "generateAll"> & Partial<Pick<AnyMAL, "scoreAnswers">>;

export interface Question {
  place: number;
  item: FoundItem;
  shown: Shown;
  /** Those that it is shown. */
  media: readonly FoundMedium[];
}

/** Parts that are kept: pictures of the questions before. */
const KEPT = 64;

export class Answerer {
  readonly #memory = new ConversationMemory();
  readonly #parts = new Map<string, Promise<MediaPart>>();

  constructor(
    private readonly model: Answering,
    private readonly convention: Convention,
    private readonly root: string,
    private readonly options: { batch: number; signal?: AbortSignal | undefined },
  ) {}

  /** All at once; where one of them cannot be used, one by one shows which: it gets a line without an answer. */
  async answer(questions: readonly Question[]): Promise<Prediction[]> {
    try {
      return await this.#together(questions);
    } catch (error) {
      this.options.signal?.throwIfAborted();
      if (!(error instanceof AnymalError) || isOfDevice(error)) throw error;
      if (questions.length === 1) return [{ ...this.#line(questions[0] as Question, ""), problem: `${error.code}: ${error.message}` }];
    }
    const lines: Prediction[] = [];
    for (const one of questions) lines.push(...(await this.answer([one])));
    return lines;
  }

  async #together(questions: readonly Question[]): Promise<Prediction[]> {
    const { signal } = this.options;
    const { maxNewTokens, options } = this.convention;
    const prompts: Turn[][] = [];
    for (const { item, media, shown } of questions) {
      const parts: MediaPart[] = [];
      for (const medium of media) parts.push(await this.#part(medium, shown === "blank"));
      prompts.push(turnsOf(this.convention.ask(item.doc), parts));
    }
    // What data sets' questions spell is text, control tokens too.
    const reading = { batch: prompts.length, memory: this.#memory, splitSpecialTokens: true, ...(signal && { signal }) };
    if (options && this.model.scoreAnswers) {
      const scored = await this.model.scoreAnswers(prompts, options, reading);
      return questions.map((question, i) => {
        const logProbabilities = (scored[i] ?? []).map(({ logProb }) => logProb);
        const best = logProbabilities.indexOf(Math.max(...logProbabilities));
        return { ...this.#line(question, options[best] ?? ""), logProbabilities };
      });
    }
    const answers = await this.model.generateAll(prompts, { ...reading, maxNewTokens });
    return questions.map((question, i) => this.#line(question, (answers[i] as string).trim()));
  }

  #part(medium: FoundMedium, empty: boolean): Promise<MediaPart> {
    const key = `${empty}${JSON.stringify(medium)}`;
    const { signal } = this.options;
    const known = this.#parts.get(key);
    const part = partOf(this.root, medium);
    const made = known ?? (empty ? blank(part, { ...(signal && { signal }) }) : Promise.resolve(part));
    this.#parts.delete(key);
    this.#parts.set(key, made);
    if (this.#parts.size > KEPT) this.#parts.delete(this.#parts.keys().next().value as string);
    return made;
  }

  #line({ place, item: { id, doc, target }, shown, media }: Question, answer: string): Prediction {
    return { doc_id: place, id, shown, doc, target, input: writtenOf(this.convention.ask(doc), media), input_media: media, answer };
  }

  dispose(): void {
    this.#memory.dispose();
  }
}

/** Media that are shown but not told of in words stand first. */
function turnsOf({ system, user }: Asked, media: readonly MediaPart[]): Turn[] {
  const filled = (parts: Asked["user"]) => parts.flatMap((part): (string | MediaPart)[] => (part === MEDIA ? [...media] : [part]));
  const turns: Turn[] = [{ role: "user", content: filled(user) }];
  return system ? [{ role: "system", content: filled(system) }, ...turns] : turns;
}

function writtenOf({ system, user }: Asked, media: readonly FoundMedium[]): string {
  const marks = media.map(({ modality }) => `<${modality}>`).join("");
  const written = (parts: Asked["user"]) => parts.map((part) => (part === MEDIA ? marks : part)).join("");
  return system ? `${written(system)}\n${written(user)}` : written(user);
}

/** Of questions, whatever folder they lie in: of the same ones the same text. */
export function digestOf(items: readonly FoundItem[]): string {
  const hash = createHash("sha256");
  for (const { id, doc, media, target } of items) hash.update(`${JSON.stringify([id, doc, media, target])}\n`);
  return `sha256:${hash.digest("hex")}`;
}
