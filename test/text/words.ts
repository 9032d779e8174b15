// A tokenizer of any size, in the words of tokenizer.json.

const SPECIAL = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };

/** A byte-pair model of so many words: letters, then each word so far with each letter behind it. */
export function wordsOf(count: number) {
  const letters = Array.from({ length: 26 }, (_, i) => String.fromCharCode(97 + i));
  const words = [...letters];
  const merges: [string, string][] = [];
  for (let i = 0; words.length < count; ++i) {
    const pair: [string, string] = [words[Math.floor(i / 26)] as string, letters[i % 26] as string];
    merges.push(pair);
    words.push(pair.join(""));
  }
  return { vocab: Object.fromEntries(words.map((word, id) => [word, id])), merges };
}

export function jsonOf({ vocab, merges, ...model }: Record<string, unknown>) {
  return {
    added_tokens: [
      { id: 70_000, content: "<s>", ...SPECIAL },
      { id: 3, content: "d", ...SPECIAL, special: false },
    ],
    normalizer: null,
    pre_tokenizer: { type: "Whitespace" },
    post_processor: null,
    decoder: null,
    model: { type: "BPE", unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null, vocab, merges, ...model },
  };
}
