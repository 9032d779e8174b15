// Tokens to text while they come: characters whose bytes are not all there yet wait, and so does what may be the beginning of a stop string.
import { Turns } from "../core/turns.js";
import { DecodeStream } from "../text/decode-stream.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { type GenerationOptions, generateTokens, sizeOf } from "./generate.js";
import { GenerationError } from "./logits.js";

export interface TextOptions extends GenerationOptions {
  /** Generation ends before the first of these. */
  stop?: string | readonly string[] | undefined;
}

/** A growing row of ids as pieces of text, up to the first stop string; DecodeStream says what the pieces are. */
export class TextStream {
  readonly #decoding: DecodeStream;
  readonly #stops: readonly string[];
  /** Decoded, and held back for what may be the beginning of a stop string. */
  #held = "";
  stopped = false;

  constructor(tokenizer: Pick<Tokenizer, "decode" | "specialTokens">, stop: string | readonly string[] = []) {
    this.#decoding = new DecodeStream(tokenizer, { skipSpecialTokens: true });
    this.#stops = typeof stop === "string" ? [stop] : stop;
    if (this.#stops.some((text) => !text)) throw new GenerationError("stop", "strings of at least one character", JSON.stringify(stop));
  }

  /** The text that is certain after one more token. */
  push(token: number): string {
    return this.#advance(this.#decoding.push(token), false);
  }
  /** The rest, when no token follows. */
  end(): string {
    return this.stopped ? "" : this.#advance(this.#decoding.end(), true);
  }

  #advance(piece: string, final: boolean): string {
    const text = this.#held + piece;
    const found = this.#stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0);
    this.stopped ||= found.length > 0;
    const end = found.length ? Math.min(...found) : final ? text.length : text.length - this.#mayBegin(text);
    this.#held = text.slice(end);
    return text.slice(0, end);
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

/** The answer to one prompt, piece by piece. */
export async function* streamText(
  llm: CausalLM,
  tokenizer: Tokenizer,
  prompt: Prompt,
  { stop, ...options }: TextOptions = {},
): AsyncGenerator<string> {
  const stream = new TextStream(tokenizer, stop);
  const { batch } = sizeOf(prompt);
  if (batch !== 1) throw new GenerationError("the prompt of a stream", "one row (use generateTexts for several)", `${batch} rows`);
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

/** The answers to all rows of a prompt. */
export async function generateTexts(
  llm: CausalLM,
  tokenizer: Tokenizer,
  prompt: Prompt,
  { stop, ...options }: TextOptions = {},
): Promise<string[]> {
  const streams = Array.from({ length: sizeOf(prompt).batch }, () => new TextStream(tokenizer, stop));
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
