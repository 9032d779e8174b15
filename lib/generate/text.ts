// Tokens to text while they come: characters whose bytes are not all there yet wait, and so does what may be the beginning of a stop string.
import { Turns } from "../core/turns.js";
import { DecodeStream } from "../text/decode-stream.js";
import type { Tokenizer } from "../text/tokenizer.js";
import { beamSearch, beamsOf, stepsOf } from "./beams.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { type GenerationOptions, generateTokens, sizeOf } from "./generate.js";
import { GenerationError } from "./logits.js";

export interface TextOptions extends GenerationOptions {
  /** Generation ends before the first of these. */
  stop?: string | readonly string[] | undefined;
}

/**
 * A growing row of ids as pieces of text, up to the first stop string; DecodeStream says what the pieces are. A stop string is looked for where special
 * tokens are written out, as transformers does (StopStringCriteria), though the text that is given has none of them.
 */
export class TextStream {
  readonly #decoding: DecodeStream;
  readonly #stops: readonly string[];
  /** Decoded, and held back for what may be the beginning of a stop string. */
  #held = "";
  /** Where a special token is written out in it: [from, to). */
  #hidden: readonly (readonly [number, number])[] = [];
  readonly #specials: ReadonlyMap<number, string>;
  stopped = false;

  constructor(tokenizer: Pick<Tokenizer, "decode" | "specialTokens">, stop: string | readonly string[] = []) {
    this.#decoding = new DecodeStream(tokenizer, { skipSpecialTokens: true });
    this.#stops = typeof stop === "string" ? [stop] : stop;
    this.#specials = new Map(this.#stops.length ? Array.from(tokenizer.specialTokens, ([content, id]) => [id, content]) : []);
    if (this.#stops.some((text) => !text)) throw new GenerationError("stop", "strings of at least one character", JSON.stringify(stop));
  }

  /** The text that is certain after one more token. */
  push(token: number): string {
    return this.#advance(this.#decoding.push(token), false, this.#specials.get(token));
  }
  /** The rest, when no token follows. */
  end(): string {
    return this.stopped ? "" : this.#advance(this.#decoding.end(), true);
  }

  #advance(piece: string, final: boolean, special = ""): string {
    const visible = this.#held + piece;
    const text = visible + special;
    const hidden = special ? [...this.#hidden, [visible.length, text.length] as const] : this.#hidden;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    this.stopped ||= found.length > 0;
    const end = found.length ? Math.min(...found) : final ? text.length : text.length - this.#mayBegin(text);
    this.#held = text.slice(end);
    this.#hidden = hidden.filter(([, to]) => to > end).map(([from, to]) => [Math.max(0, from - end), to - end] as const);
    return without(text.slice(0, end), hidden);
  }

  /** Characters at the end that a stop string begins with. */
  #mayBegin(text: string): number {
    const held = this.#stops.map((stop) => {
      for (let n = Math.min(stop.length - 1, text.length); n > 0; --n) if (text.endsWith(stop.slice(0, n))) return n;
      return 0;
    });
    return Math.max(0, ...held);
  }
}

function without(text: string, hidden: readonly (readonly [number, number])[]): string {
  let [left, at] = ["", 0];
  for (const [from, to] of hidden) {
    left += text.slice(at, Math.max(at, from));
    at = Math.max(at, to);
  }
  return left + text.slice(at);
}

/** The answer to one prompt, piece by piece. */
export async function* streamText(
  llm: CausalLM,
  tokenizer: Tokenizer,
  prompt: Prompt,
  { stop, ...options }: TextOptions = {},
): AsyncGenerator<string> {
  const stream = new TextStream(tokenizer, stop);
  checkStops(stop, options);
  const batch = answersTo(prompt, options);
  if (batch !== 1)
    throw new GenerationError("the prompt of a stream", "one row with one answer", `${batch} answers`, "ask for all of them at once");
  const ends = options.eosTokenId ?? llm.config.eosTokenIds;
  for await (const [token] of generateTokens(llm, prompt, options)) {
    if (token === undefined || (typeof ends === "number" ? token === ends : ends.includes(token))) break;
    const piece = stream.push(token);
    if (piece) yield piece;
    if (stream.stopped) return;
  }
  const rest = stream.end();
  if (rest) yield rest;
}

const answersTo = (prompt: Prompt, { numReturnSequences = 1 }: GenerationOptions): number => sizeOf(prompt).batch * numReturnSequences;

/** A stop string ends a beam where it is written, which is known of words and not of tokens. */
function checkStops(stop: TextOptions["stop"], { numBeams = 1 }: GenerationOptions): void {
  if (numBeams > 1 && stop?.length)
    throw new GenerationError("stop", "left out with numBeams", JSON.stringify(stop), "eosTokenId ends an answer after a token");
}

/** The answers to all rows of a prompt, numReturnSequences to each. */
export async function generateTexts(
  llm: CausalLM,
  tokenizer: Tokenizer,
  prompt: Prompt,
  { stop, ...options }: TextOptions = {},
): Promise<string[]> {
  checkStops(stop, options);
  const streams = Array.from({ length: answersTo(prompt, options) }, () => new TextStream(tokenizer, stop));
  const texts = streams.map(() => "");
  const ends = options.eosTokenId ?? llm.config.eosTokenIds;
  const isEnd = (token: number) => (typeof ends === "number" ? token === ends : ends.includes(token));
  const turns = new Turns();
  for await (const tokens of generateTokens(llm, prompt, options)) {
    for (const [b, token] of tokens.entries()) {
      const stream = streams[b] as TextStream;
      if (token === undefined || isEnd(token) || stream.stopped) continue;
      texts[b] += stream.push(token);
      await turns.next();
    }
    // A row that met its stop string goes on unseen until all rows have ended.
    if (streams.every((stream, b) => stream.stopped || tokens[b] === undefined || isEnd(tokens[b] as number))) break;
  }
  return texts.map((text, b) => text + (streams[b] as TextStream).end());
}

/** One of several answers. */
export interface Answer {
  text: string;
  /** Of beams: log-probability divided by length to the power of lengthPenalty. */
  score?: number;
}

/** Of each row of a prompt its answers, best first where they are beams. */
export async function severalTexts(llm: CausalLM, tokenizer: Tokenizer, prompt: Prompt, options: TextOptions): Promise<Answer[][]> {
  const { stop, ...generation } = options;
  const { numReturnSequences: each = 1 } = generation;
  if (beamsOf(generation) === 1) {
    const texts = await generateTexts(llm, tokenizer, prompt, options);
    return Array.from({ length: texts.length / each }, (_, b) => texts.slice(b * each, (b + 1) * each).map((text) => ({ text })));
  }
  checkStops(stop, generation);
  const found = await beamSearch(llm, prompt, generation);
  for (const _ of stepsOf(found, generation.onTokens)); // who counts tokens counts these
  const ends = generation.eosTokenId ?? llm.config.eosTokenIds;
  const turns = new Turns();
  const answers: Answer[][] = [];
  for (const own of found) {
    answers.push(own.map(({ tokens, score }) => ({ text: textOf(tokenizer, tokens, typeof ends === "number" ? [ends] : ends), score })));
    await turns.next();
  }
  return answers;
}

function textOf(tokenizer: Tokenizer, tokens: readonly number[], ends: readonly number[]): string {
  const stream = new TextStream(tokenizer);
  const written = tokens.filter((token) => !ends.includes(token)).map((token) => stream.push(token));
  return written.join("") + stream.end();
}
