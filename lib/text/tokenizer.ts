// Text to ids and back, as transformers does it: tokenizer.json through @huggingface/tokenizers, sentencepiece's tokenizer.model, or a GGUF file.
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { AnymalError } from "../core/errors.js";
import { parseShallow } from "../core/json.js";
import { checkOptions, optionNames } from "../core/options.js";
import { readPlainSync } from "../core/plain-file.js";
import { atOnce, inTurns, type Pieces } from "../core/turns.js";
import { readJsonInTurns } from "../io/json-pieces.js";
import { type AddedToken, AddedTokens, addedToken, moreTokens, type SplitOptions } from "./added-tokens.js";
import { byteLevelFiles, hasByteLevelFiles } from "./byte-level-files.js";
import { type ChatOptions, ChatTemplate, ChatTemplateError, type Message } from "./chat-template.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { hubEngine } from "./hub-tokenizer.js";
import { SentencePiece } from "./sentencepiece.js";
import { sentencePieceModel } from "./sentencepiece-model.js";
import { checkAddedIds, checkTokenizerConfig, tokenText } from "./tokenizer-config.js";
import { failOf, TokenizerError } from "./tokenizer-error.js";
import { LARGEST } from "./tokenizer-schema.js";

export { TokenizerError } from "./tokenizer-error.js";

export interface EncodeOptions {
  /** What the tokenizer puts around a text, e.g. <s> in front. Default true. */
  addSpecialTokens?: boolean;
  /** The text's `<s>` and its like are letters, as with transformers' split_special_tokens. Default false: they are the control tokens. */
  splitSpecialTokens?: boolean;
  /** A character that keeps what it stands in from being read as a token, and is taken out; for prompts. */
  literalMark?: string;
}
const ENCODE_OPTIONS = optionNames<EncodeOptions>({ addSpecialTokens: true, splitSpecialTokens: true, literalMark: true });
/** What transformers takes here. */
const OTHERS = {
  padding: "encodeBatch pads to the longest row",
  paddingSide: 'did you mean "side" of encodeBatch?',
  truncation: "cut the ids: encode(text).slice(0, length)",
  maxLength: "cut the ids: encode(text).slice(0, length)",
  returnTensors: "ids are plain arrays",
};
export interface DecodeOptions {
  skipSpecialTokens?: boolean;
}
export interface TokenBatchOptions extends EncodeOptions {
  side?: "left" | "right";
}
export interface TokenBatch {
  inputIds: number[][];
  attentionMask: number[][];
}

type Json = Record<string, unknown>;

const JSON_FILE = "tokenizer.json";

export interface TokenizerGrowth {
  /** Control tokens that are added to those of the files, such as <image>. A word that is a token already keeps its id; others get the next ones. */
  addedTokens?: readonly string[];
}

/** What stands behind a tokenizer: one of the two file formats. */
export interface Engine {
  readonly size: number;
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Tokens that the files lack. */
  readonly fresh: readonly AddedToken[];
  encode(text: string, addSpecialTokens: boolean, split: SplitOptions): number[];
  decode(ids: readonly number[], skipSpecialTokens: boolean): string;
  idOf(token: string): number | undefined;
}

/** Text to ids and back, as transformers' tokenizer of the same folder does it. */
export class Tokenizer {
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string | undefined;
  readonly unkToken: string | undefined;
  /** Control tokens that a text may spell: those of `addedTokens`, which are words of what the model reads and writes. */
  readonly textTokens: ReadonlySet<string>;
  readonly #engine: Engine;
  readonly #chat: ChatTemplate | undefined;

  private constructor(engine: Engine, config: Json, chatSource: string | undefined, words: readonly string[]) {
    this.#engine = engine;
    this.textTokens = new Set(words);
    this.bosToken = tokenText(config.bos_token);
    this.eosToken = tokenText(config.eos_token);
    this.padToken = tokenText(config.pad_token);
    this.unkToken = tokenText(config.unk_token);
    const special = { bos_token: this.bosToken, eos_token: this.eosToken, pad_token: this.padToken, unk_token: this.unkToken };
    const known = Object.fromEntries(Object.entries(special).filter(([, token]) => token !== undefined)) as Record<string, string>;
    this.#chat = chatSource === undefined ? undefined : new ChatTemplate(chatSource, known);
  }

  /** From a folder with tokenizer.json, tokenizer.model, or GPT-2's vocab.json and merges.txt, and tokenizer_config.json beside it, or from a GGUF file. */
  static fromPretrained(path: string, options: TokenizerGrowth = {}): Tokenizer {
    checkOptions("Tokenizer.fromPretrained", options, ["addedTokens"]);
    const { addedTokens = [] } = options;
    return atOnce(
      isFile(path) ? Tokenizer.#ofGguf(path, addedTokens) : Tokenizer.#ofFolder(path, readJson(path, JSON_FILE, LARGEST), addedTokens),
    );
  }

  /** The same, without holding the event loop: a tokenizer of 128 000 words takes half a second. Aborting rejects with the signal's reason. */
  static async load(path: string, loading: TokenizerGrowth & { signal?: AbortSignal | undefined } = {}): Promise<Tokenizer> {
    checkOptions("Tokenizer.load", loading, ["signal", "addedTokens"]);
    const { signal, addedTokens = [] } = loading;
    if (isFile(path)) return inTurns(Tokenizer.#ofGguf(path, addedTokens), { signal });
    const file = join(path, JSON_FILE);
    const json = existsSync(file)
      ? await readJsonInTurns(file, { signal, most: LARGEST }).catch((cause) => noJson(file, cause, signal))
      : await Tokenizer.#older(path, signal);
    return inTurns(Tokenizer.#ofFolder(path, json, addedTokens), { signal });
  }

  /** Of a folder without one: what its vocab.json and merges.txt make, where they are those of GPT-2's class. */
  static async #older(folder: string, signal: AbortSignal | undefined): Promise<unknown> {
    if (existsSync(join(folder, "tokenizer.model")) || !hasByteLevelFiles(folder)) return undefined;
    const config: Json = { ...readConfig(folder, "special_tokens_map.json"), ...readConfig(folder, "tokenizer_config.json") };
    if (!/^GPT2Tokenizer(Fast)?$/.test(String(config.tokenizer_class ?? "GPT2Tokenizer"))) return undefined;
    return byteLevelFiles(folder, config, { signal, most: LARGEST });
  }

  static *#ofFolder(folder: string, json: unknown, words: readonly string[]): Pieces<Tokenizer> {
    const config: Json = { ...readConfig(folder, "special_tokens_map.json"), ...readConfig(folder, "tokenizer_config.json") };
    const chat = ChatTemplate.sourceIn(folder, config);
    const model = join(folder, "tokenizer.model");
    yield;
    if (json !== undefined) return new Tokenizer(yield* jsonEngine(json, config, join(folder, JSON_FILE), words), config, chat, words);
    if (existsSync(model)) {
      const added = addedTokens(config, readAdded(folder));
      const pieces = new SentencePiece(yield* sentencePieceModel(readPlainSync(model, { most: LARGEST, linksInside: true })));
      yield;
      return new Tokenizer(sentencePieceEngine(pieces, config, added, words), config, chat, words);
    }
    throw new TokenizerError(
      `expected tokenizer.json or tokenizer.model in ${folder}, or GPT-2's vocab.json and merges.txt, got none; copy the tokenizer's files there`,
    );
  }

  static *#ofGguf(path: string, words: readonly string[]): Pieces<Tokenizer> {
    const { pieces, tokenizerJson, config, chatTemplate } = yield* ggufTokenizer(path);
    yield;
    const engine = pieces ? sentencePieceEngine(pieces, config, [], words) : yield* jsonEngine(tokenizerJson, config, path, words);
    return new Tokenizer(engine, config, chatTemplate, words);
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
  /** The tokens of `addedTokens` that the files lack, with their ids. */
  get addedTokens(): ReadonlyMap<string, number> {
    return new Map(this.#engine.fresh.map(({ content, id }) => [content, id]));
  }
  get hasChatTemplate(): boolean {
    return this.#chat !== undefined;
  }
  tokenToId(token: string): number | undefined {
    return this.#engine.idOf(token);
  }

  encode(text: string, options: EncodeOptions = {}): number[] {
    checkOptions("Tokenizer.encode", options, ENCODE_OPTIONS, { others: OTHERS });
    const { addSpecialTokens = true, splitSpecialTokens = false, literalMark } = options;
    return this.#engine.encode(text, addSpecialTokens, { splitSpecialTokens, literalMark });
  }
  decode(ids: readonly number[], options: DecodeOptions = {}): string {
    checkOptions("Tokenizer.decode", options, ["skipSpecialTokens"]);
    const { skipSpecialTokens = false } = options;
    return this.#engine.decode(ids, skipSpecialTokens);
  }

  /** Rows of equal length, padded with the pad token (eos where there is none). */
  encodeBatch(texts: readonly string[], batch: TokenBatchOptions = {}): TokenBatch {
    checkOptions("Tokenizer.encodeBatch", batch, [...ENCODE_OPTIONS, "side"], { others: OTHERS });
    const { side = "left", ...options } = batch;
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

const isFile = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isFile() === true;

/** Bytes of what stands beside a tokenizer: 65 536 tokens of pictures, each with its flags, take 16 MB. */
const LARGEST_CONFIG = 64 * 2 ** 20;

function readJson(folder: string, name: string, most = LARGEST_CONFIG): unknown {
  const file = join(folder, name);
  if (!existsSync(file)) return undefined;
  try {
    return parseShallow(readPlainSync(file, { most, linksInside: true }).toString());
  } catch (cause) {
    return noJson(file, cause);
  }
}
function readConfig(folder: string, name: string): Json {
  const json = readJson(folder, name);
  return json === undefined ? {} : checkTokenizerConfig(json, failOf(join(folder, name)));
}
function readAdded(folder: string): Json {
  const name = "added_tokens.json";
  const json = readJson(folder, name);
  return json === undefined ? {} : checkAddedIds(json, failOf(join(folder, name)));
}

function noJson(file: string, cause: unknown, signal?: AbortSignal): never {
  signal?.throwIfAborted();
  if (cause instanceof AnymalError) throw cause;
  throw new TokenizerError(`expected ${file} to hold JSON, got something else (${(cause as Error).message}); fetch it again`, { cause });
}

/** Reads tokenizer.json; whatever the package throws, then or later, is the file's fault. */
function* jsonEngine(json: unknown, config: Json, file: string, words: readonly string[]): Pieces<Engine> {
  const blame = <T>(work: () => T): T => {
    try {
      return work();
    } catch (cause) {
      if (cause instanceof AnymalError) throw cause;
      throw new TokenizerError(`expected a tokenizer of a known kind in ${file}, got one that fails (${(cause as Error).message})`, {
        cause,
      });
    }
  };
  const pieces = hubEngine(json as Json, config, failOf(file), words);
  let step = blame(() => pieces.next());
  for (; !step.done; step = blame(() => pieces.next())) yield;
  const engine = step.value;
  return {
    ...engine,
    encode: (...given) => blame(() => engine.encode(...given)),
    decode: (...given) => blame(() => engine.decode(...given)),
  };
}

/** Tokens beside the pieces, such as <image>: of tokenizer_config.json, or of added_tokens.json as older folders have them. */
function addedTokens(config: Json, older: Json = {}): AddedToken[] {
  const { added_tokens_decoder: decoder, additional_special_tokens: more } = config;
  const named = ["bos_token", "eos_token", "unk_token", "pad_token"].map((key) => config[key]);
  const specials = new Set([...named, ...(Array.isArray(more) ? more : [])].map(tokenText));
  const added = new Map<number, AddedToken>();
  const add = (id: number, content: unknown, flags: Json) => {
    if (Number.isInteger(id) && id >= 0 && typeof content === "string" && content) added.set(id, addedToken(id, content, flags));
  };
  for (const [content, id] of Object.entries(older)) add(Number(id), content, { special: specials.has(content), normalized: false });
  for (const [id, token] of Object.entries((decoder ?? {}) as Record<string, Json | null>)) add(Number(id), token?.content, token ?? {});
  return [...added.values()];
}

/** As LLaMA's tokenizer without a tokenizer.json: control tokens written in the text count as themselves, the text between is sentencepiece's. */
function sentencePieceEngine(model: SentencePiece, config: Json, stored: readonly AddedToken[], words: readonly string[]): Engine {
  const { add_bos_token: addBos = true, add_eos_token: addEos = false } = config;
  const ids = Array.from({ length: model.size }, (_, id) => id);
  const whole = ids
    .filter((id) => model.isControl(id) && model.pieceOf(id))
    .map((id) => addedToken(id, model.pieceOf(id) as string, { special: true }));
  const own = new Set([...whole, ...stored].map(({ content }) => content));
  const next = stored.reduce((most, { id }) => Math.max(most, id + 1), model.size);
  const fresh = moreTokens(words, own, next, (word) => model.idOf(word));
  const added = [...stored, ...fresh];
  const tokens = new Map([...whole, ...added].map((token) => [token.content, token]));
  const splitter = new AddedTokens([...tokens.values()]);
  const idOf = (token: string) => tokens.get(token)?.id ?? model.idOf(token);
  const id = (token: unknown) => idOf(tokenText(token) ?? "");
  const [bos, eos] = [id(config.bos_token) ?? id("<s>"), id(config.eos_token) ?? id("</s>")];
  return {
    size: added.reduce((most, { id }) => Math.max(most, id + 1), model.size),
    fresh,
    specialTokens: new Map([...tokens.values()].filter(({ special }) => special).map((token) => [token.content, token.id])),
    encode: (text, addSpecialTokens, split) => {
      const inner = splitter.split(text, split).flatMap((piece) => ("text" in piece ? model.encode(piece.text) : [piece.id]));
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
        const token = splitter.byId.get(id);
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
