// The steps of tokenizer.json, as tokenizers (Rust) writes them: which kinds there are, and what each must say.
import { type Check, is, isObject, shown } from "../core/checks.js";
import type { Fail } from "./tokenizer-error.js";

type Json = Record<string, unknown>;
type Keys = Readonly<Record<string, Check>>;

export interface StepKinds {
  /** Where a sequence keeps its steps. */
  inner: string;
  kinds: Readonly<Record<string, Keys>>;
}

const within = (most: number): Check => ({
  wanted: `a text of at most ${most} characters`,
  fits: (v) => typeof v === "string" && v.length <= most,
});
const letter: Check = { wanted: "one character", fits: (v) => typeof v === "string" && [...v.slice(0, 3)].length === 1 };
const upTo = (most: number, least = 0): Check => ({
  wanted: `an integer from ${least} to ${most}`,
  fits: (v) => Number.isInteger(v) && (v as number) >= least && (v as number) <= most,
});
/** What tokenizers may leave out, or writes as null. */
const maybe = (check: Check): Check => ({ wanted: check.wanted, fits: (v) => v === undefined || v === null || check.fits(v) });

/** Characters of an expression; the longest published one has some 600. */
const LONGEST_PATTERN = 8192;
const LONGEST_TEXT = 1024;
const pattern: Check = {
  wanted: `{"String": text} or {"Regex": text} of at most ${LONGEST_PATTERN} characters`,
  fits: (v) => isObject(v) && within(LONGEST_PATTERN).fits(v.Regex === undefined ? v.String : v.Regex),
};
const flag = maybe(is.flag);
const words = maybe(within(LONGEST_TEXT));
const replace: Keys = { pattern, content: words };
const space: Keys = {
  replacement: maybe(letter),
  str_rep: maybe(letter),
  prepend_scheme: maybe(is.oneOf("always", "never", "first")),
  add_prefix_space: flag,
};

const strip: Keys = { strip_left: flag, strip_right: flag };
const bert: Keys = { clean_text: flag, handle_chinese_chars: flag, lowercase: flag, strip_accents: flag };
export const NORMALIZERS: StepKinds = {
  inner: "normalizers",
  kinds: {
    ...{ BertNormalizer: bert, Precompiled: {}, Replace: replace, NFC: {}, NFD: {}, NFKC: {}, NFKD: {} },
    ...{ Strip: strip, StripAccents: {}, Lowercase: {}, Prepend: { prepend: within(LONGEST_TEXT) } },
  },
};

const behavior = maybe(is.oneOf("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"));
const bytes: Keys = { add_prefix_space: flag, trim_offsets: flag, use_regex: flag };
export const PRE_TOKENIZERS: StepKinds = {
  inner: "pretokenizers",
  kinds: {
    ...{ BertPreTokenizer: {}, Whitespace: {}, WhitespaceSplit: {}, Metaspace: space, ByteLevel: bytes, Replace: replace },
    ...{ Split: { pattern, behavior, invert: flag }, Punctuation: { behavior }, Digits: { individual_digits: flag } },
    FixedLength: { length: upTo(1 << 20, 1) },
  },
};

const ctc: Keys = { pad_token: words, word_delimiter_token: words, cleanup: flag };
export const DECODERS: StepKinds = {
  inner: "decoders",
  kinds: {
    ...{ ByteLevel: bytes, WordPiece: { prefix: words, cleanup: flag }, Metaspace: space, BPEDecoder: { suffix: words }, CTC: ctc },
    ...{ Replace: replace, Fuse: {}, ByteFallback: {}, Strip: { content: letter, start: upTo(1024), stop: upTo(1024) } },
  },
};

/** Throws E_TOKENIZER for a step of another kind, or one that says what no step of its kind does. `count` hears of each. */
export function checkStep(at: string, step: unknown, { inner, kinds }: StepKinds, fail: Fail, count: () => void): void {
  count();
  if (!isObject(step)) throw fail(`${at} to be an object`, shown(step));
  const { type } = step as Json;
  if (type === "Sequence") {
    const steps = (step as Json)[inner];
    if (!Array.isArray(steps)) throw fail(`${at}.${inner} to be a list`, shown(steps));
    for (const [n, one] of steps.entries()) checkStep(`${at}.${inner}[${n}]`, one, { inner, kinds }, fail, count);
    return;
  }
  const keys = typeof type === "string" && Object.hasOwn(kinds, type) ? kinds[type] : undefined;
  if (!keys) throw fail(`${at}.type to be one of Sequence, ${Object.keys(kinds).join(", ")}`, shown(type));
  for (const [key, check] of Object.entries(keys))
    if (!check.fits((step as Json)[key])) fail(`${at}.${key} to be ${check.wanted}`, shown((step as Json)[key]));
}
