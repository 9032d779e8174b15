// Tokens to text while they come: characters whose bytes are not all there yet wait, and so does what may be the beginning of a stop string.
import { Turns } from "../core/turns.js";
import type { Tokenizer } from "../text/tokenizer.js";
import type { CausalLM, Prompt } from "./causal-lm.js";
import { type GenerationOptions, generateTokens, sizeOf } from "./generate.js";
import { GenerationError } from "./logits.js";

export interface TextOptions extends GenerationOptions {
  /** Generation ends before the first of these. */
  stop?: string | readonly string[] | undefined;
}

/**
 * Turns a growing row of ids into pieces of text whose concatenation is the decoded whole, up to the first stop string. (Where a model writes
 * bytes that are no UTF-8, decoding the whole may judge a byte by one that came later; a stream cannot take back what it gave.)
 */
export class TextStream {
  readonly #ids: number[] = [];
  readonly #stops: readonly string[];
  #sent = 0;
  stopped = false;

  constructor(
    private readonly tokenizer: Tokenizer,
    stop: string | readonly string[] = [],
  ) {
    this.#stops = typeof stop === "string" ? [stop] : stop;
    if (this.#stops.some((text) => !text)) throw new GenerationError("stop", "strings of at least one character", JSON.stringify(stop));
  }

  /** The text that is certain after one more token. */
  push(token: number): string {
    this.#ids.push(token);
    return this.#advance(false);
  }
  /** The rest, when no token follows. */
  end(): string {
    return this.stopped ? "" : this.#advance(true);
  }

  #advance(final: boolean): string {
    const text = this.tokenizer.decode(this.#ids, { skipSpecialTokens: true });
    const found = this.#stops.map((stop) => text.indexOf(stop, Math.max(0, this.#sent - stop.length))).filter((at) => at >= 0);
    if (found.length) {
      this.stopped = true;
      return this.#send(text, Math.max(this.#sent, Math.min(...found)));
    }
    return this.#send(text, final ? text.length : this.#certain(text));
  }

  #certain(text: string): number {
    // A trailing replacement character may be the first bytes of a character.
    const whole = text.replace(/\ufffd+$/, "").length;
    const held = this.#stops.map((stop) => {
      for (let n = Math.min(stop.length - 1, whole); n > 0; --n) if (text.slice(0, whole).endsWith(stop.slice(0, n))) return n;
      return 0;
    });
    return Math.max(this.#sent, whole - Math.max(0, ...held));
  }

  #send(text: string, end: number): string {
    const piece = text.slice(this.#sent, end);
    this.#sent = end;
    return piece;
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
