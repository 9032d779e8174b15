// What of tokenizer.json is used, before any of it is: the package that reads it takes everything at its word. An id of 4 billion makes a table of as
// many places, a piece of no characters is cut off for ever, and a step that is null fails in the middle of an answer.
import { isObject, shown } from "../core/checks.js";
import type { Pieces } from "../core/turns.js";
import { keysOf } from "../io/json-pieces.js";
import type { Fail } from "./tokenizer-error.js";
import { checkStep, DECODERS, NORMALIZERS, PRE_TOKENIZERS, type StepKinds } from "./tokenizer-steps.js";

type Json = Record<string, unknown>;

/** Bytes of a tokenizer's file. The largest published one has 40 MB. */
export const LARGEST = 256 * 2 ** 20;
/** Ids. The largest published vocabularies have 300 000. */
const MOST_ID = 2 ** 22;
/** Characters of a token; the longest published ones are 256 spaces. */
const LONGEST = 1024;
/** … of a model that looks for all tokens at each place of a text: sentencepiece makes them of at most 16 if not told otherwise. */
const LONGEST_OF_UNIGRAM = 128;
const LONGEST_PART = 64;
/** Characters of a word that WordPiece may try all parts of, which takes their third power; all published ones say 100. */
const LONGEST_WORD = 256;
const MOST_STEPS = 100;
const AT_ONCE = 1024;

const MODELS = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/** Throws E_TOKENIZER, in pieces: a vocabulary has 300 000 words. */
export function* checkTokenizer(json: unknown, fail: Fail): Pieces<void> {
  if (!isObject(json)) throw fail("an object", shown(json));
  const { model, added_tokens: added, normalizer, pre_tokenizer: preTokenizer, decoder, post_processor: postProcessor } = json;
  if (!isObject(model)) throw fail("model to be an object", shown(model));
  yield* checkModel(model, fail);
  if (!Array.isArray(added)) throw fail("added_tokens to be a list", shown(added));
  yield* checkAdded(added, fail);
  let steps = 0;
  const count = () => {
    if (++steps > MOST_STEPS) fail(`at most ${MOST_STEPS} steps`, "more");
  };
  const each: [string, unknown, StepKinds][] = [
    ["normalizer", normalizer, NORMALIZERS],
    ["pre_tokenizer", preTokenizer, PRE_TOKENIZERS],
    ["decoder", decoder, DECODERS],
  ];
  for (const [at, step, kinds] of each) if (step !== null && step !== undefined) checkStep(at, step, kinds, fail, count);
  if (postProcessor !== null && postProcessor !== undefined) checkPostProcessor("post_processor", postProcessor, fail, count);
}

function* checkModel(model: Json, fail: Fail): Pieces<void> {
  const { type, vocab, merges } = model;
  if (type !== undefined && type !== null && !MODELS.includes(type as string))
    fail(`model.type to be one of ${MODELS.join(", ")}`, shown(type));
  for (const key of ["fuse_unk", "byte_fallback", "ignore_merges"]) flag(`model.${key}`, model[key], fail);
  for (const key of ["continuing_subword_prefix", "continuing_subword_suffix", "end_of_word_suffix"])
    text(`model.${key}`, model[key], LONGEST_PART, fail);
  text("model.unk_token", model.unk_token, LONGEST, fail);
  const { max_input_chars_per_word: longest } = model;
  if (
    longest !== undefined &&
    longest !== null &&
    !(Number.isInteger(longest) && (longest as number) > 0 && (longest as number) <= LONGEST_WORD)
  )
    fail(`model.max_input_chars_per_word to be an integer from 1 to ${LONGEST_WORD}`, shown(longest));
  if (Array.isArray(vocab)) {
    if (type !== "Unigram" && type !== undefined && type !== null) fail("model.vocab to be an object", "a list");
    yield* checkPieces(vocab, model.unk_id, fail);
    return;
  }
  if (type === "Unigram" || !isObject(vocab)) throw fail(`model.vocab to be ${type === "Unigram" ? "a list" : "an object"}`, shown(vocab));
  yield* checkVocab(vocab, fail);
  if (type === "BPE" || merges !== undefined) yield* checkMerges(merges, fail);
  if (type === "WordPiece" && typeof model.continuing_subword_prefix !== "string")
    fail("model.continuing_subword_prefix to be a text", shown(model.continuing_subword_prefix));
}

function* checkVocab(vocab: Json, fail: Fail): Pieces<void> {
  let n = 0;
  for (const word of keysOf(vocab)) {
    if (word.length > LONGEST) fail(`tokens of at most ${LONGEST} characters`, `one of ${word.length}`);
    id(word, vocab[word], fail);
    if (++n % AT_ONCE === 0) yield;
  }
}

function* checkPieces(vocab: readonly unknown[], unknown: unknown, fail: Fail): Pieces<void> {
  if (!vocab.length || vocab.length > MOST_ID) fail(`model.vocab of 1 to ${MOST_ID} pieces`, `${vocab.length}`);
  for (const [at, piece] of vocab.entries()) {
    const [word, score] = Array.isArray(piece) ? piece : [];
    if (!(Array.isArray(piece) && typeof word === "string" && typeof score === "number"))
      throw fail(`model.vocab of pieces [text, number]`, `${shown(piece)} as piece ${at}`);
    if (word.length > LONGEST_OF_UNIGRAM) fail(`pieces of at most ${LONGEST_OF_UNIGRAM} characters`, `one of ${word.length}`);
    if (at % AT_ONCE === AT_ONCE - 1) yield;
  }
  if (
    unknown !== null &&
    unknown !== undefined &&
    !(Number.isInteger(unknown) && (unknown as number) >= 0 && (unknown as number) < vocab.length)
  )
    fail(`model.unk_id to be one of ${vocab.length} ids`, shown(unknown));
}

function* checkMerges(merges: unknown, fail: Fail): Pieces<void> {
  if (!Array.isArray(merges)) throw fail("model.merges to be a list", shown(merges));
  const apart = typeof merges[0] === "string";
  for (const [at, merge] of merges.entries()) {
    const parts: unknown = apart && typeof merge === "string" ? merge.split(" ") : merge;
    if (
      !(
        (typeof merge === "string") === apart &&
        Array.isArray(parts) &&
        parts.length === 2 &&
        parts.every((part) => typeof part === "string")
      )
    )
      throw fail(`model.merges of two tokens each, all written in one way`, `${shown(merge)} as merge ${at}`);
    if ((parts as string[]).join("").length > LONGEST) fail(`merges to at most ${LONGEST} characters`, "a longer one");
    if (at % AT_ONCE === AT_ONCE - 1) yield;
  }
}

function* checkAdded(added: readonly unknown[], fail: Fail): Pieces<void> {
  for (const [at, token] of added.entries()) {
    if (!isObject(token)) throw fail("added_tokens to be objects", `${shown(token)} as token ${at}`);
    checkAddedToken(`added_tokens[${at}]`, token, fail);
    id(token.content as string, token.id, fail);
    if (at % AT_ONCE === AT_ONCE - 1) yield;
  }
}

/** What is said of a token beside its id. */
export function checkAddedToken(at: string, token: Json, fail: Fail): void {
  if (typeof token.content !== "string" || token.content.length > LONGEST)
    fail(`${at}.content to be a text of at most ${LONGEST} characters`, shown(token.content));
  for (const key of ["single_word", "lstrip", "rstrip", "normalized", "special"]) flag(`${at}.${key}`, token[key], fail);
}

/** Of a token that a file gives an id. */
export function id(word: string, value: unknown, fail: Fail): number {
  if (!(Number.isInteger(value) && (value as number) >= 0 && (value as number) < MOST_ID))
    fail(`the id of ${shown(word, 40)} to be an integer from 0 to below ${MOST_ID}`, shown(value));
  return value as number;
}

export function flag(at: string, value: unknown, fail: Fail): void {
  if (value !== undefined && value !== null && typeof value !== "boolean") fail(`${at} to be true or false`, shown(value));
}
function text(at: string, value: unknown, most: number, fail: Fail): void {
  if (value !== undefined && value !== null && !(typeof value === "string" && value.length <= most))
    fail(`${at} to be a text of at most ${most} characters`, shown(value));
}

const POST = ["TemplateProcessing", "ByteLevel", "BertProcessing", "RobertaProcessing", "Sequence"];
const MOST_AROUND = 64;

function checkPostProcessor(at: string, step: unknown, fail: Fail, count: () => void): void {
  count();
  if (!isObject(step)) throw fail(`${at} to be an object`, shown(step));
  const { type, single, processors, sep, cls } = step;
  if (!POST.includes(type as string)) fail(`${at}.type to be one of ${POST.join(", ")}`, shown(type));
  if (type === "Sequence") {
    if (!Array.isArray(processors)) throw fail(`${at}.processors to be a list`, shown(processors));
    for (const [n, one] of processors.entries()) checkPostProcessor(`${at}.processors[${n}]`, one, fail, count);
  }
  const named = (token: unknown) => Array.isArray(token) && typeof token[0] === "string";
  if (/^(Bert|Roberta)/.test(type as string) && !(named(sep) && named(cls)))
    fail(`${at}.sep and ${at}.cls to be [token, id]`, `${shown(sep)} and ${shown(cls)}`);
  if (type !== "TemplateProcessing") return;
  if (!Array.isArray(single) || single.length > MOST_AROUND)
    throw fail(`${at}.single to be a list of at most ${MOST_AROUND}`, shown(single));
  let texts = 0;
  for (const one of single) {
    const { SpecialToken: token, Sequence: sequence } = (isObject(one) ? one : {}) as Record<string, unknown>;
    if (isObject(sequence) && sequence.id === "A") ++texts;
    else if (!(isObject(token) && typeof token.id === "string"))
      fail(`${at}.single of {"SpecialToken": {"id": …}} and {"Sequence": {"id": "A"}}`, shown(one));
  }
  if (texts !== 1) fail(`${at}.single to hold the text once`, `${texts} times`);
}
