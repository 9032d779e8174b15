// tokenizer.json: @huggingface/tokenizers' steps, put together as tokenizers (Rust) does.
import { shown } from "../core/checks.js";
import type { Pieces } from "../core/turns.js";
import { type AddedToken, AddedTokens, addedToken, moreTokens } from "./added-tokens.js";
import { beginText, countStep } from "./hub-budget.js";
import { hubTokenizer, sizeOf } from "./hub-model.js";
import { boundStep, type PatternStep } from "./hub-patterns.js";
import type { Engine } from "./tokenizer.js";
import type { Fail } from "./tokenizer-error.js";
import { checkTokenizer } from "./tokenizer-schema.js";

type Json = Record<string, unknown>;

/** Steps of the package, as far as they are used here. */
interface Steps {
  normalizer: ((text: string) => string) | null;
  pre_tokenizer: ((text: string, options: { section_index: number }) => string[]) | null;
  model: ((tokens: string[]) => string[]) & { tokens_to_ids: Map<string, number>; vocab: (string | undefined)[]; unk_token_id?: number };
  post_processor: ((tokens: string[], pair: null, addSpecialTokens: boolean) => { tokens: string[] }) | null;
  decoder: ((tokens: string[]) => string) | null;
}

/** Throws whatever the package does for a file that it cannot read. */
export function* hubEngine(json: Json, config: Json, fail: Fail, words: readonly string[] = []): Pieces<Engine> {
  yield* checkTokenizer(json, fail);
  const hub = yield* hubTokenizer(json, config);
  const size = yield* sizeOf(hub);
  const { normalizer, pre_tokenizer: preTokenizer, model, post_processor: postProcessor, decoder } = hub as unknown as Steps;
  eachStep(normalizer, "normalizers", exactNormalizer);
  eachStep(preTokenizer, "tokenizers", exactPreTokenizer);
  eachStep(decoder, "decoders", exactDecoder);
  const stored = (json.added_tokens as Json[]).map((token) => addedToken(token.id as number, token.content as string, token));
  const next = stored.reduce((most, { id }) => Math.max(most, id + 1), model.vocab.length);
  const own = new Map(stored.map(({ content, id }) => [content, id]));
  const fresh = moreTokens(words, new Set(own.keys()), next, (word) => model.tokens_to_ids.get(word));
  for (const { content, id } of fresh) own.set(content, id);
  const tokens = [...stored, ...fresh];
  beginText(tokens.reduce((sum, { content }) => sum + content.length + 1, 0));
  const added = new AddedTokens(tokens, normalizer ?? undefined);
  const more = config.additional_special_tokens;
  const special = new Set([...tokens.filter((token) => token.special).map(({ content }) => content), ...(Array.isArray(more) ? more : [])]);
  const idOf = (token: string) => own.get(token) ?? model.tokens_to_ids.get(token);
  forgetAdded(model, json, tokens);
  const idsOf = (token: string) => idOf(token) ?? fail("a post_processor that names tokens of the vocabulary", shown(token));
  const around = [false, true].map((add) => border(postProcessor, add).map((side) => side.map(idsOf)));
  const plainIds = (text: string, first: boolean): number[] => {
    const words = preTokenizer ? preTokenizer(text, { section_index: first ? 0 : 1 }) : [text];
    return model(words).flatMap((token) => model.tokens_to_ids.get(token) ?? model.unk_token_id ?? []);
  };
  return {
    size: size + fresh.filter(({ id }) => id >= next).length,
    fresh,
    specialTokens: new Map(tokens.filter((token) => token.special).map(({ content, id }) => [content, id])),
    encode: (text, addSpecialTokens, split) => {
      beginText(text.length);
      const [before = [], after = []] = around[addSpecialTokens ? 1 : 0] as number[][];
      const ids = added.split(text, split).map((piece) => ("text" in piece ? plainIds(piece.text, piece.first) : [piece.id]));
      return [before, ...ids, after].flat();
    },
    decode: (ids, skipSpecialTokens) => {
      const known = ids.flatMap((id) => {
        const token = added.textOf(id) ?? model.vocab[id];
        return token === undefined || (skipSpecialTokens && special.has(token)) ? [] : [token];
      });
      if (!known.length) return "";
      beginText(known.reduce((sum, { length }) => sum + length, 0));
      return decoder ? decoder(known) : known.join(" ");
    },
    idOf,
  };
}

/** The package puts added tokens into the vocabulary, where a word that is spelt like one would become it. */
function forgetAdded(model: Steps["model"], json: Json, tokens: readonly AddedToken[]): void {
  const vocab = (json.model as { vocab?: unknown } | undefined)?.vocab;
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab)) return;
  for (const { content } of tokens) {
    const own = Object.hasOwn(vocab, content) ? (vocab as Record<string, number>)[content] : undefined;
    if (own === undefined) model.tokens_to_ids.delete(content);
    else model.tokens_to_ids.set(content, own);
  }
}

/** What the post-processor puts before and behind a text. */
function border(postProcessor: Steps["post_processor"], addSpecialTokens: boolean): [string[], string[]] {
  const middle = "\u0000text\u0000";
  const all = postProcessor?.([middle], null, addSpecialTokens).tokens ?? [middle];
  const at = all.indexOf(middle);
  return [all.slice(0, at), all.slice(at + 1)];
}

interface Step {
  config?: { type?: string; split?: boolean };
  [member: string]: unknown;
}

/** A step, or each of a sequence of them. */
function eachStep(step: unknown, inner: string, mend: (step: Step) => void): void {
  if (!step) return;
  const steps = (step as Record<string, unknown>)[inner];
  if (Array.isArray(steps)) for (const one of steps) eachStep(one, inner, mend);
  else {
    boundStep(step as PatternStep);
    mend(step as Step);
    countStep(step as Step);
  }
}

/** The package goes by JavaScript's white space, which holds U+FEFF and lacks U+0085. */
function exactNormalizer(step: Step): void {
  if (step.config?.type !== "Strip") return;
  const { strip_left, strip_right } = step.config as { strip_left?: boolean; strip_right?: boolean };
  step.normalize = (text: string) => {
    const left = strip_left ? text.replace(/^\p{White_Space}+/u, "") : text;
    return strip_right ? left.replace(/\p{White_Space}+$/u, "") : left;
  };
}

const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

function exactPreTokenizer(step: Step): void {
  const name = (step.constructor as { name?: string }).name ?? "";
  if ("byte_encoder" in step && step.pattern instanceof RegExp) step.pattern = GPT2_WORDS;
  else if (/^WhitespaceSplit/.test(name)) step.pre_tokenize_text = (text: string) => text.match(/\P{White_Space}+/gu) ?? [];
  else if (/^Whitespace/.test(name))
    step.pre_tokenize_text = (text: string) =>
      text.match(/[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]+|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{White_Space}]+/gu) ?? [];
}

function exactDecoder(step: Step): void {
  const kind = step.config?.type;
  if (kind === "ByteFallback" && step.text_decoder) step.text_decoder = { decode: bytesOrMarks };
  if (kind === "ByteLevel") step.decode_chain = (tokens: readonly string[]) => [byteLevel(tokens)];
  if (kind === "Metaspace") {
    const { replacement = "\u2581", prepend_scheme: scheme = "always" } = step.config as { replacement?: string; prepend_scheme?: string };
    step.decode_chain = (tokens: readonly string[]) =>
      tokens.map((token, i) => token.replaceAll(replacement, i === 0 && scheme !== "never" ? "" : " "));
  }
}

/** A run of byte tokens is their text when it is UTF-8, and one replacement character per byte when it is not. */
function bytesOrMarks(bytes: Uint8Array): string {
  try {
    return STRICT.decode(bytes);
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
const STRICT = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });
const LOOSE = new TextDecoder("utf-8", { ignoreBOM: true });
const UTF8 = new TextEncoder();

/** GPT-2's alphabet: printable bytes are their own characters, the others stand from U+0100 on. */
const BYTE_OF = new Map<string, number>();
for (let byte = 0, next = 256; byte < 256; ++byte) {
  const printable = (byte > 32 && byte < 127) || (byte > 160 && byte < 256 && byte !== 173);
  BYTE_OF.set(String.fromCharCode(printable ? byte : next++), byte);
}

/** Added tokens too are read in the alphabet where all of their characters are of it. */
function byteLevel(tokens: readonly string[]): string {
  const bytes: number[] = [];
  for (const token of tokens) {
    const own = token.split("").map((unit) => BYTE_OF.get(unit));
    bytes.push(...(own.includes(undefined) ? UTF8.encode(token) : (own as number[])));
  }
  return LOOSE.decode(Uint8Array.from(bytes));
}
