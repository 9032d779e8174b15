// What a stage is planned with: the longest rows of its data, or rows that are made up to be as long as they were said to be.
import type { AnyMAL } from "../anymal/anymal.js";
import { conversationOf, encodePrompt } from "../anymal/prompt.js";
import { expected } from "../core/errors.js";
import { Draw } from "../data/draw.js";
import { mediaOf, type Row } from "../data/row.js";
import type { RowSource } from "../data/sources/source.js";
import { audio } from "../media/audio.js";
import { image } from "../media/image.js";
import { imu } from "../media/imu.js";
import type { MediaPart, Modality } from "../media/part.js";
import { video } from "../media/video.js";
import { systemOf } from "../systems/index.js";

export interface PlannedRows {
  rows: readonly Row[];
  /** Rows of the data; undefined where nobody said. */
  count: number | undefined;
  /** Tokens of text of the longest row, and of one in the middle. */
  longest: number;
  mean: number;
}

/** Media that differ from each other: more of them are encoded at once nowhere. */
export const DISTINCT = 32;
/** Rows of data that are looked at. */
const LOOKED_AT = 256;
const [SIDE, FRAMES, RATE, IMU_RATE] = [64, 8, 16000, 50];

/** Tokens of text in a row, its prompt's included. */
export function textTokens(model: AnyMAL, { turns, where }: Row): number {
  const generation = turns.at(-1)?.role !== "assistant";
  const options = { where, generation, rows: model.llm.config.vocabSize, ...model.prompt };
  const prompt = encodePrompt(model.tokenizer, conversationOf(turns, model.prompt), options);
  return prompt.parts.reduce((n, part) => n + ("ids" in part ? part.ids.length : 0), 0);
}

/** What a row's media are to the language model: positions, and the bytes of the features that are kept of them on the host. */
export async function mediaIn(model: AnyMAL, row: Row): Promise<{ positions: number; bytes: number }> {
  const all = await model.features(mediaOf(row));
  return {
    positions: all.reduce((n, { modality, shape }) => n + model.projector(modality).rows(shape), 0),
    bytes: all.reduce((n, { data }) => n + data.byteLength, 0),
  };
}

/** A run whose rows stand behind each other, without padding: how its steps are drawn. */
export interface Packed {
  steps: number;
  batch: number;
  microBatch: number;
  seed: number;
  /** Tokens that a longer row is cut to. */
  maxLength: number;
}

/**
 * Of rows from all over the data those that a run must be ready for: the longest, since a row among shorter ones is padded to them; of a packed run the
 * heaviest of as many micro-batches as it has, drawn as it draws.
 */
export async function heaviestRows(model: AnyMAL, source: RowSource, most: number, packed?: Packed): Promise<PlannedRows> {
  const step = Math.max(1, Math.floor(source.length / LOOKED_AT));
  const looked: Looked[] = [];
  for (let i = 0; i < source.length; i += step) {
    const row = await source.row(i);
    looked.push({ row, tokens: textTokens(model, row) });
  }
  if (!looked.length) throw expected("E_DATA", "plan", "at least one row", "none", "check the data");
  looked.sort((a, b) => b.tokens - a.tokens);
  const taken = packed ? heaviestTogether(looked, packed) : looked.slice(0, most);
  return {
    rows: taken.map(({ row }) => row),
    count: source.length,
    longest: looked[0]?.tokens ?? 0,
    mean: looked.reduce((n, { tokens }) => n + tokens, 0) / looked.length,
  };
}

interface Looked {
  row: Row;
  tokens: number;
}
type Sized = Pick<Looked, "tokens">;
/** Micro-batches that are drawn at most: with more the heaviest hardly grows. */
const DRAWN = 4096;

/** Epoch by epoch, in a new order each time, as rows are read: the longest first. */
export function heaviestTogether<T extends Sized>(looked: readonly T[], { steps, batch, microBatch, seed, maxLength }: Packed): T[] {
  const draw = new Draw(seed, "plan/packed");
  const size = Math.min(batch, microBatch);
  const wanted = Math.min(DRAWN, steps * Math.ceil(batch / size));
  let [heaviest, weight]: [readonly T[], number] = [[], -1];
  let waiting: T[] = [];
  for (let drawn = 0; drawn < wanted; ++drawn) {
    while (waiting.length < size) waiting = [...waiting, ...draw.shuffled(looked)];
    const together = waiting.splice(0, size);
    const own = together.reduce((sum, { tokens }) => sum + Math.min(tokens, maxLength), 0);
    if (own > weight) [heaviest, weight] = [together, own];
  }
  return [...heaviest].sort((a, b) => b.tokens - a.tokens);
}

export interface MadeUp {
  modalities: readonly Modality[];
  /** Of text, in each row. */
  tokens: number;
  /** Media of each kind, in each row. */
  media: number;
  /** Of sounds and recordings. */
  seconds: number;
}

/** Rows that are all alike in length. Throws E_VALUE where the prompt alone is longer than asked. */
export function madeUpRows(model: AnyMAL, wanted: number, { modalities, tokens, media, seconds }: MadeUp): Row[] {
  const question = systemOf(model.system).captionPrompts?.[0] ?? "Describe it.";
  const all = Array.from({ length: Math.min(DISTINCT, wanted * media) }, (_, i) =>
    modalities.map((modality) => mediumOf(modality, i, seconds)),
  );
  const rowOf = (i: number, words: number): Row => {
    const own = Array.from({ length: media }, (_, k) => all[(i * media + k) % all.length] ?? []).flat();
    return {
      where: `row ${i}`,
      turns: [
        { role: "user", content: question ? [...own, question] : own },
        { role: "assistant", content: [new Array(words).fill("a").join(" ")] },
      ],
    };
  };
  const least = textTokens(model, rowOf(0, 1));
  if (tokens < least) throw expected("E_VALUE", "plan: tokens", `at least the ${least} of a prompt with an answer of one word`, tokens);
  let words = tokens - least + 1;
  for (let i = 0; i < 8; ++i) {
    const off = textTokens(model, rowOf(0, words)) - tokens;
    if (!off) break;
    words = Math.max(1, words - Math.sign(off) * Math.max(1, Math.floor(Math.abs(off) / 2)));
  }
  return Array.from({ length: wanted }, (_, i) => rowOf(i, words));
}

/** Number i of media that differ: their content counts for nothing but that. */
function mediumOf(modality: Modality, i: number, seconds: number): MediaPart {
  const picture = (k: number) => ({ data: new Uint8Array(SIDE * SIDE * 3).fill((i + k) % 256), width: SIDE, height: SIDE });
  const samples = (n: number) => Float32Array.from({ length: n }, (_, k) => Math.sin(k * (i + 1)));
  switch (modality) {
    case "image":
      return image(picture(0));
    case "video":
      return video({ frames: Array.from({ length: FRAMES }, (_, k) => picture(k)), fps: FRAMES });
    case "audio":
      return audio({ samples: samples(Math.ceil(seconds * RATE)), sampleRate: RATE });
    case "imu":
      return imu({ samples: samples(6 * Math.ceil(seconds * IMU_RATE)), sampleRate: IMU_RATE });
    default:
      throw expected(
        "E_MODALITY",
        "plan",
        "a kind of media that rows can be made up of",
        modality,
        "give the data, whose rows are taken then",
      );
  }
}
