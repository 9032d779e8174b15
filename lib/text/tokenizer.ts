// Text to ids and back, as transformers does it: tokenizer.json through @huggingface/tokenizers, sentencepiece's tokenizer.model, or a GGUF file.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as HubTokenizer } from "@huggingface/tokenizers";
import { AnymalError } from "../core/errors.js";
import { onFileSync } from "../core/file-error.js";
import { type ChatOptions, ChatTemplate, ChatTemplateError, type Message } from "./chat-template.js";
import { readGgufTokenizer } from "./gguf-tokenizer.js";
import { SentencePiece } from "./sentencepiece.js";

export class TokenizerError extends AnymalError {
  override readonly name = "TokenizerError";
  constructor(message: string, options?: ErrorOptions) {
    super("E_TOKENIZER", message, options);
  }
}

export interface EncodeOptions {
  /** What the tokenizer puts around a text, e.g. <s> in front. Default true. */
  addSpecialTokens?: boolean;
}
export interface DecodeOptions {
  skipSpecialTokens?: boolean;
}
export interface BatchOptions extends EncodeOptions {
  side?: "left" | "right";
}
export interface TokenBatch {
  inputIds: number[][];
  attentionMask: number[][];
}

type Json = Record<string, unknown>;

/** What stands behind a tokenizer: one of the two file formats. */
interface Engine {
  readonly size: number;
  readonly specialTokens: ReadonlyMap<string, number>;
  encode(text: string, addSpecialTokens: boolean): number[];
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  idOf(token: string): number | undefined;
}

export class Tokenizer {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string | undefined;
  readonly unkToken: string | undefined;
  readonly #engine: Engine;
  readonly #chat: ChatTemplate | undefined;

  private constructor(engine: Engine, config: Json, chatSource: string | undefined) {
    this.#engine = engine;
    this.bosToken = tokenText(config.bos_token);
    this.eosToken = tokenText(config.eos_token);
    this.padToken = tokenText(config.pad_token);
    this.unkToken = tokenText(config.unk_token);
    const special = { bos_token: this.bosToken, eos_token: this.eosToken, pad_token: this.padToken, unk_token: this.unkToken };
    const known = Object.fromEntries(Object.entries(special).filter(([, token]) => token !== undefined)) as Record<string, string>;
    this.#chat = chatSource === undefined ? undefined : new ChatTemplate(chatSource, known);
  }

  /** From a folder with tokenizer.json or tokenizer.model and tokenizer_config.json beside it, or from a GGUF file. */
  static fromPretrained(path: string): Tokenizer {
    if (statSync(path, { throwIfNoEntry: false })?.isFile()) return Tokenizer.#fromGguf(path);
    const folder = path;
    const config: Json = { ...readJson(folder, "special_tokens_map.json"), ...readJson(folder, "tokenizer_config.json") };
    const chat = ChatTemplate.sourceIn(folder, config);
    const model = join(folder, "tokenizer.model");
    const json = readJson(folder, "tokenizer.json");
    if (json) return new Tokenizer(hubEngine(json, config, join(folder, "tokenizer.json")), config, chat);
    if (existsSync(model)) {
      const added = addedTokens(config, readJson(folder, "added_tokens.json"));
      return new Tokenizer(
        sentencePieceEngine(new SentencePiece(onFileSync("to be read", model, () => readFileSync(model))), config, added),
        config,
        chat,
      );
    }
    throw new TokenizerError(`expected tokenizer.json or tokenizer.model in ${folder}, got neither; copy the tokenizer's files there`);
  }

  static #fromGguf(path: string): Tokenizer {
    const { pieces, tokenizerJson, config, chatTemplate } = readGgufTokenizer(path);
    return new Tokenizer(
      pieces ? sentencePieceEngine(pieces, config, []) : hubEngine(tokenizerJson as Json, config, path),
      config,
      chatTemplate,
    );
  }

  get vocabSize(): number {
    return this.#engine.size;
  }
  get bosTokenId(): number | undefined {
    return this.#idOf(this.bosToken);
  }
  get eosTokenId(): number | undefined {
    return this.#idOf(this.eosToken);
  }
  get padTokenId(): number | undefined {
    return this.#idOf(this.padToken);
  }
  get unkTokenId(): number | undefined {
    return this.#idOf(this.unkToken);
  }
  /** Control tokens with their ids, as they are recognised when a text spells them. */
  get specialTokens(): ReadonlyMap<string, number> {
    return this.#engine.specialTokens;
  }
  get hasChatTemplate(): boolean {
    return this.#chat !== undefined;
  }
  tokenToId(token: string): number | undefined {
    return this.#engine.idOf(token);
  }

  encode(text: string, { addSpecialTokens = true }: EncodeOptions = {}): number[] {
    return this.#engine.encode(text, addSpecialTokens);
  }
  decode(ids: readonly number[], { skipSpecialTokens = false }: DecodeOptions = {}): string {
    return this.#engine.decode(ids, skipSpecialTokens);
  }

  /** Rows of equal length, padded with the pad token (eos where there is none). */
  encodeBatch(texts: readonly string[], { side = "left", ...options }: BatchOptions = {}): TokenBatch {
    const rows = texts.map((text) => this.encode(text, options));
    const longest = rows.reduce((most, { length }) => Math.max(most, length), 0);
    const pad = this.padTokenId ?? this.eosTokenId ?? 0;
    const padded = (row: number[], fill: number) => {
      const filler = new Array<number>(longest - row.length).fill(fill);
      return side === "left" ? [...filler, ...row] : [...row, ...filler];
    };
    return {
      inputIds: rows.map((row) => padded(row, pad)),
      attentionMask: rows.map((row) =>
        padded(
          row.map(() => 1),
          0,
        ),
      ),
    };
  }

  /** The prompt of a conversation, special tokens written out: encode it with addSpecialTokens: false. */
  applyChatTemplate(messages: readonly Message[], options: ChatOptions = {}): string {
    if (!this.#chat)
      throw new ChatTemplateError(
        "expected chat_template.jinja or a chat_template in tokenizer_config.json, got neither; pass plain text instead",
      );
    return this.#chat.render(messages, options);
  }

  #idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.#engine.idOf(token);
  }
}

/** Tokens stand as plain text or as {content, lstrip, ...}. */
function tokenText(token: unknown): string | undefined {
  if (typeof token === "string") return token;
  return (token as { content?: string } | null | undefined)?.content;
}

function readJson(folder: string, name: string): Json | undefined {
  const file = join(folder, name);
  if (!existsSync(file)) return undefined;
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch (cause) {
    throw new TokenizerError(`expected ${file} to hold JSON, got something else (${(cause as Error).message}); fetch it again`, { cause });
  }
}

function hubEngine(json: Json, config: Json, file: string): Engine {
  let hub: HubTokenizer;
  try {
    // The package cleans up spaces before punctuation unless told otherwise; transformers does not for BPE.
    hub = new HubTokenizer(json, { ...config, clean_up_tokenization_spaces: false });
    exactByteFallback(hub.decoder);
  } catch (cause) {
    throw new TokenizerError(`expected a tokenizer of a known kind in ${file}, got one that fails (${(cause as Error).message})`, {
      cause,
    });
  }
  const special = [...hub.get_added_tokens_decoder()].filter(([, token]) => token.special);
  return {
    size: hub.get_vocab(true).size,
    specialTokens: new Map(special.map(([id, { content }]) => [content, id])),
    encode: (text, addSpecialTokens) => hub.encode(text, { add_special_tokens: addSpecialTokens }).ids,
    decode: (ids, skipSpecialTokens) =>
      ids.length ? hub.decode([...ids], { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: false }) : "",
    idOf: (token) => hub.token_to_id(token),
  };
}

/**
 * A run of byte tokens is their text when it is UTF-8, and one replacement character per byte when it is not, as tokenizers has it; the package
 * decodes what it can, and drops U+FEFF.
 */
function exactByteFallback(decoder: unknown): void {
  const utf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
  const decode = (bytes: Uint8Array) => {
    try {
      return utf8.decode(bytes);
    } catch {
      return "\ufffd".repeat(bytes.length);
    }
  };
  const { decoders = [decoder] } = (decoder ?? {}) as { decoders?: unknown[] };
  for (const step of decoders as ({ text_decoder?: unknown; config?: { type?: string } } | undefined)[]) {
    if (step?.text_decoder && step.config?.type === "ByteFallback") step.text_decoder = { decode };
  }
}

interface Added {
  id: number;
  content: string;
  special: boolean;
}

/** Tokens beside the pieces, such as <image>: of tokenizer_config.json, or of added_tokens.json as older folders have them. */
function addedTokens(config: Json, older: Json = {}): Added[] {
  const { added_tokens_decoder: decoder, additional_special_tokens: more } = config;
  const named = ["bos_token", "eos_token", "unk_token", "pad_token"].map((key) => config[key]);
  const specials = new Set([...named, ...(Array.isArray(more) ? more : [])].map(tokenText));
  const added = new Map<number, Added>();
  const add = (id: number, content: unknown, special: boolean) => {
    if (Number.isInteger(id) && id >= 0 && typeof content === "string" && content) added.set(id, { id, content, special });
  };
  for (const [content, id] of Object.entries(older)) add(Number(id), content, specials.has(content));
  for (const [id, token] of Object.entries((decoder ?? {}) as Record<string, Partial<Added> | null>))
    add(Number(id), token?.content, token?.special === true);
  return [...added.values()];
}

/** As LLaMA's tokenizer without a tokenizer.json: control tokens written in the text count as themselves, the text between is sentencepiece's. */
function sentencePieceEngine(model: SentencePiece, config: Json, added: readonly Added[]): Engine {
  const { add_bos_token: addBos = true, add_eos_token: addEos = false } = config;
  const ids = Array.from({ length: model.size }, (_, id) => id);
  const whole = ids
    .filter((id) => model.isControl(id) && model.pieceOf(id))
    .map((id) => ({ id, content: model.pieceOf(id) as string, special: true }));
  const tokens = new Map([...whole, ...added].map((token) => [token.content, token]));
  const byId = new Map([...tokens.values()].map((token) => [token.id, token]));
  const longestFirst = [...tokens.keys()].sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(${longestFirst.map((token) => token.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")).join("|")})`);
  const idOf = (token: string) => tokens.get(token)?.id ?? model.idOf(token);
  const id = (token: unknown) => idOf(tokenText(token) ?? "");
  const [bos, eos] = [id(config.bos_token) ?? id("<s>"), id(config.eos_token) ?? id("</s>")];
  return {
    size: Math.max(model.size, ...added.map((token) => token.id + 1)),
    specialTokens: new Map([...tokens.values()].filter(({ special }) => special).map((token) => [token.content, token.id])),
    encode: (text, addSpecialTokens) => {
      const inner = (tokens.size ? text.split(pattern) : [text]).flatMap((part) => {
        const token = tokens.get(part);
        return token === undefined ? model.encode(part) : [token.id];
      });
      if (!addSpecialTokens) return inner;
      return [...(addBos && bos !== undefined ? [bos] : []), ...inner, ...(addEos && eos !== undefined ? [eos] : [])];
    },
    decode: (row, skipSpecialTokens) => {
      const parts: string[] = [];
      let plain: number[] = [];
      const flush = () => {
        if (plain.length) parts.push(model.decode(plain));
        plain = [];
      };
      for (const id of row) {
        const token = byId.get(id);
        if (!token) {
          plain.push(id);
          continue;
        }
        flush();
        if (!token.special || !skipSpecialTokens) parts.push(token.content);
      }
      flush();
      return parts.join("");
    },
    idOf,
  };
}
