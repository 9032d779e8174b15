// How published tokenizers split a text into words. JavaScript's own engine takes these in steps that the text bounds: wherever one of their loops has to
// be given up (as \s* before [\r\n]+), another of their ways takes the same stretch at once. Of other expressions nobody knows (core/regex).

const ENDINGS = "'s|'t|'re|'ve|'m|'ll|'d";
const BLANKS = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;

/** As llama.cpp has it: a single blank between words that take none is left over. */
export const GPT2 = String.raw`${ENDINGS}| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)`;

/** Of cl100k's kind; `digits` are those that stay together. */
export const cl100k = (digits: string): string =>
  String.raw`(?i:${ENDINGS})|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|${BLANKS}`;
export const LLAMA3 = cl100k(String.raw`\p{N}{1,3}`);
export const QWEN2 = cl100k(String.raw`\p{N}`);

const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
/** Of o200k's kind. */
const o200k = (endings: string, digits: string): string =>
  [`${UPPER}*${LOWER}+`, `${UPPER}+${LOWER}*`].map((word) => String.raw`[^\r\n\p{L}\p{N}]?${word}${endings}|`).join("") +
  String.raw`${digits}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${BLANKS}`;

/** As they stand in tokenizer.json, or in llama.cpp's src/llama-vocab.cpp. */
export const PUBLISHED: ReadonlySet<string> = new Set([
  GPT2,
  String.raw`${GPT2}|\s+`,
  LLAMA3,
  QWEN2,
  String.raw`(?i:${ENDINGS})|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${BLANKS}`, // Qwen 3.5
  o200k(`(?i:${ENDINGS})?`, String.raw`\p{N}{1,3}`), // GPT-4o, Llama 4
  o200k("", String.raw`\p{N}`), // Mistral's tekken
  // DeepSeek V3, one after the other
  String.raw`\p{N}{1,3}`,
  "[一-龥\u3040-ゟ゠-ヿ]+",
  String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` +
    "`" +
    String.raw`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${BLANKS}`,
  // Falcon, BLOOM, StarCoder, and what llama.cpp takes where a file says nothing
  "[0-9][0-9][0-9]",
  String.raw` ?[^(\s|[.,!?…。，、।۔،])]+`,
  String.raw`[\p{P}\$\+<=>\^~\|]+`,
  String.raw`\p{N}+`,
  String.raw`\p{N}`,
]);
