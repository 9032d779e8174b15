// What users write as a prompt, and a batch of it as the network takes it.
import type { Device } from "../core/device.js";
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import type { Content, Turn } from "../data/row.js";
import type { EncoderInput, MediaPart, Modality } from "../media/part.js";
import type { AnyMALBatch, MediaReference } from "../models/anymal.js";
import { type PromptOptions, type PromptPart, promptParts } from "../text/prompt.js";
import type { TextPart } from "../text/splice.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { type Features, formOf, type Media, runs, together, type Unencoded } from "./media-encoder.js";
import type { PromptFormat } from "./options.js";
import { type Asking, questionsOf } from "./question.js";
import { around, checkMarks, controlToken, spellable, withIds } from "./written.js";

/** A question, a question with media in it, or a whole conversation. */
export type PromptInput = string | Content | readonly Turn[];

/** Ids with holes, and what belongs into the holes. */
export interface EncodedPrompt {
  where: string;
  parts: readonly PromptPart[];
  media: readonly MediaPart[];
  /** Of each medium what its bridge is told, in ids of its own; none where none is told anything. */
  questions?: readonly (readonly number[] | undefined)[];
}

export function conversationOf(prompt: PromptInput, { system, written = {} }: PromptFormat = {}): readonly Turn[] {
  const asked = typeof prompt === "string" ? [user([prompt])] : isConversation(prompt) ? prompt : [user(prompt)];
  const turns = around(asked, written);
  if (!system || turns.some(({ role }) => role === "system")) return turns;
  return [{ role: "system", content: [system] }, ...turns];
}

const user = (content: Content): Turn => ({ role: "user", content });
const isConversation = (prompt: Content | readonly Turn[]): prompt is readonly Turn[] =>
  prompt.length > 0 && prompt.every((part) => typeof part === "object" && "role" in part);

interface EncodeOptions extends PromptFormat {
  generation?: boolean;
  where?: string;
  /** Rows of the language model's table. */
  rows: number;
  /** Of bridges that read the question. */
  ask?: Asking | undefined;
  /** As of promptParts. */
  onNotice?: PromptOptions["onNotice"];
}

export function encodePrompt(
  tokenizer: Tokenizer,
  turns: readonly Turn[],
  { generation = false, where = "prompt", splitSpecialTokens = false, written = {}, rows, ask, onNotice }: EncodeOptions,
): EncodedPrompt {
  const { token: mediaToken, end: answerEnd, answer: answerStart } = written;
  if (!splitSpecialTokens) checkMarks(turns, written, where);
  for (const token of [answerEnd, answerStart]) if (token !== undefined) controlToken(tokenizer, token, where);
  const media = turns.flatMap(({ content }) => content.filter((part): part is MediaPart => typeof part !== "string"));
  const textTokens = spellable(tokenizer, written, media.length, where);
  const notice = onNotice !== undefined && { onNotice };
  const options = { generation, where, splitSpecialTokens, mediaToken, answerEnd, answerStart, textTokens, ...notice };
  const bare = written.place === "first" ? mediaFirst(tokenizer, turns, options) : promptParts(tokenizer, turns, options);
  const parts = withIds(bare, written, tokenizer, where);
  checkIds(parts, tokenizer, rows, where);
  const questions = ask && media.length ? questionsOf(turns, written).map((text, i) => ask((media[i] as MediaPart).modality, text)) : [];
  return { where, parts, media, ...(questions.some((one) => one) && { questions }) };
}

/** The text as it is without media, and these before it. */
function mediaFirst(tokenizer: Tokenizer, turns: readonly Turn[], options: PromptOptions): PromptPart[] {
  let media = 0;
  const first: PromptPart[] = [];
  const bare = turns.map(({ content, ...turn }) => {
    for (const part of content) if (typeof part !== "string" && turn.role !== "assistant") first.push({ media: media++ });
    return { ...turn, content: turn.role === "assistant" ? content : content.filter((part) => typeof part === "string") };
  });
  return [...first, ...promptParts(tokenizer, bare, options)];
}

/** A tokenizer may have more tokens than the model has embeddings, of which a text need not hold one. */
function checkIds(parts: readonly PromptPart[], tokenizer: Tokenizer, rows: number, where: string): void {
  for (const part of parts) {
    if (!("ids" in part)) continue;
    for (const id of Array.from(part.ids))
      if (id >= rows)
        throw expected(
          "E_PROMPT",
          where,
          `tokens that the model has an embedding of, ids below ${rows}`,
          `${JSON.stringify(tokenizer.decode([id]))}, id ${id}`,
          "take it out of the text, or use the tokenizer that the model was trained with",
        );
  }
}

const textLength = ({ parts }: EncodedPrompt): number => parts.reduce((n, part) => n + ("ids" in part ? part.ids.length : 0), 0);

/** What makes features of media that come unencoded. */
export type Encode = (modality: Modality, input: EncoderInput) => Tensor;

/**
 * Rows for the network; `features[i]` are those of row i's media, in order, or the media themselves where the encoder trains. The tensors of the result
 * are the caller's to dispose.
 */
export function batchOf(
  prompts: readonly EncodedPrompt[],
  features: readonly (readonly Media[])[],
  device: Device,
  encode?: Encode,
): AnyMALBatch {
  const items = new Map<Modality, Media[]>();
  const told = new Map<Modality, (readonly number[])[]>();
  const rows = prompts.map(({ parts }, i) =>
    parts.map((part): TextPart | MediaReference => {
      if ("ids" in part) return part;
      const one = features[i]?.[part.media] as Media;
      const all = items.get(one.modality) ?? [];
      items.set(one.modality, all);
      const question = prompts[i]?.questions?.[part.media];
      if (question) told.set(one.modality, [...(told.get(one.modality) ?? []), question]);
      return { modality: one.modality, item: all.push(one) - 1 };
    }),
  );
  const tensors = Array.from(items, ([modality, all]): [Modality, Tensor[]] => [
    modality,
    encode && isUnencoded(all)
      ? runs(all, formOf).map((run) => encode(modality, together(run.map(({ input }) => input))))
      : runs(all as Features[], formOf).map((run) => stacked(run, device)),
  ]);
  return { rows, features: Object.fromEntries(tensors), ...(told.size && { questions: Object.fromEntries(told) }) };
}

const isUnencoded = (all: readonly Media[]): all is readonly Unencoded[] => all.every((one) => "input" in one);

/** Of features of one shape: (items, …) f32 on the device. */
export function stacked(all: readonly Features[], device: Device): Tensor {
  const [first] = all as [Features];
  const size = first.data.length;
  const data = new Float32Array(all.length * size);
  for (const [i, one] of all.entries()) data.set(one.data, i * size);
  return Tensor.from(data, [all.length, ...first.shape], { device });
}

/** Throws E_PROMPT where a row would fill the context. `rowsOf`: how many rows a medium becomes. */
export function checkContext(row: EncodedPrompt, features: readonly Features[], limit: number, rowsOf: (own: Features) => number): void {
  const text = textLength(row);
  const length = features.reduce((n, own) => n + rowsOf(own), text);
  if (length < limit) return;
  throw expected(
    "E_PROMPT",
    row.where,
    `fewer than the ${limit} tokens of the model's context`,
    `${length} (${text} of text, ${length - text} of ${features.length} media)`,
    "shorten the text or leave media out",
  );
}

/** Of a row that is not padded: ids, and for each row of a medium what it is made of. `rows`: how many the n-th becomes. */
export function positionsOf({ parts }: EncodedPrompt, made: readonly object[], rows: (medium: number) => number): unknown[] {
  return parts.flatMap((part): unknown[] => ("ids" in part ? Array.from(part.ids) : new Array(rows(part.media)).fill(made[part.media])));
}

/** A flat list as rows of the given lengths. */
export function regrouped<T>(all: readonly T[], lengths: readonly number[]): T[][] {
  let start = 0;
  return lengths.map((length) => {
    start += length;
    return all.slice(start - length, start);
  });
}
