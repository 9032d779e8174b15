// tokenizer.json files with added tokens of every kind of flag, over texts that are full of them and of odd white space.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tokenizer } from "../../../lib/text/tokenizer.js";
import type { Random } from "../../fuzz/random.js";
import type { Places, Target, Verdict } from "../target.js";

type Json = Record<string, unknown>;
interface Case {
  name: string;
  json: Json;
  text: string;
  add: boolean;
  split: boolean;
  ids: number[];
}
interface Answer {
  ids: number[];
  text: string;
  skipped: string;
}

const FIXTURES = new URL("../../../test/fixtures", import.meta.url).pathname;

function files(folder: string): [string, Json][] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith("tokenizer.json"))
    .sort()
    .map((file) => [file, JSON.parse(readFileSync(join(folder, file), "utf8"))]);
}

// biome-ignore format: a table
const CONTENTS = ["<tool>", "plain", "wOrd", "ÄB", "<|end|>", " gap", "a", "the ", "<s>x", "é", "🙂", "1", "_x_"];
// biome-ignore format: a table
const SPACES = ["", "", " ", " ", "  ", "\t", "\n", "\r\n", "\u00a0", "\u0085", "\ufeff", "\u180e", "\u2003", "\u2028", "\u3000", "\u001c", "\u200b", "\u202f", "   \n "];
// biome-ignore format: a table
const WORDS = ["a", "The", "it's", "I'LL", "x1", "2024", "日本", "🙂", "é", "e\u0301", "_", "b_c", "-", "...", "ﬁ", "ǅ", "½", "٣", "\u0301", "ß", "don't", "\u200c", "²", "▁", "Ġ", "<0x41>", "\0"];

function withTokens(random: Random, json: Json): Json {
  const { vocab } = json.model as { vocab: Record<string, number> };
  const old = json.added_tokens as { id: number; content: string }[];
  let next = Math.max(...Object.values(vocab), ...old.map(({ id }) => id)) + 1;
  const flag = () => random.chance(0.3);
  const added = CONTENTS.filter((content) => random.chance(0.3) && !old.some((token) => token.content === content)).map((content) => ({
    id: vocab[content] ?? next++,
    content,
    single_word: flag(),
    lstrip: flag(),
    rstrip: flag(),
    normalized: flag(),
    special: flag(),
  }));
  return { ...json, added_tokens: [...old, ...added] };
}

function* cases(random: Random, count: number, { material }: Places): Generator<Case> {
  const all = [...files(FIXTURES), ...(material === undefined ? [] : files(material))].filter(
    ([, json]) => (json.model as Json).type === "BPE",
  );
  let [name, json] = all[0] as [string, Json];
  for (let i = 0; i < count; ++i) {
    if (i % 20 === 0) {
      [name, json] = random.pick(all);
      if (random.chance(0.8)) json = withTokens(random, json);
    }
    const contents = (json.added_tokens as { content: string }[]).map(({ content }) => content);
    const words = Array.from(
      { length: 1 + random.below(8) },
      () => random.pick(random.chance(0.5) ? contents : WORDS) + random.pick(SPACES),
    );
    const size = Object.keys((json.model as { vocab: Json }).vocab).length + 16;
    const ids = random.chance(0.3) ? Array.from({ length: 1 + random.below(12) }, () => random.below(size)) : [];
    yield { name, json, text: random.pick(SPACES) + words.join(""), add: random.chance(0.5), split: random.chance(0.2), ids };
  }
}

/** Is the file one of the fixtures? */
const isFixture = (name: string) => name.startsWith("tokenizer-");

let last: { json: Json; tokenizer: Tokenizer } | undefined;
function tokenizerOf(json: Json): Tokenizer {
  if (last?.json === json) return last.tokenizer;
  const folder = mkdtempSync(join(tmpdir(), "anymal-differential-"));
  try {
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(json));
    last = { json, tokenizer: Tokenizer.fromPretrained(folder) };
    return last.tokenizer;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function compare(input: unknown, answer: unknown): Verdict {
  const { name, json, text, add, split, ids } = input as Case;
  const { value: theirs, error } = answer as { value?: Answer; error?: string };
  if (!theirs) return { agrees: true, what: `Python refuses: ${error?.slice(0, 60)}` };
  const tokenizer = tokenizerOf(json);
  const encoded = tokenizer.encode(text, { addSpecialTokens: add, splitSpecialTokens: split });
  const row = ids.length ? ids : theirs.ids;
  const ours: Answer = { ids: encoded, text: tokenizer.decode(row), skipped: tokenizer.decode(row, { skipSpecialTokens: true }) };
  for (const part of ["ids", "text", "skipped"] as const) {
    const [a, b] = [JSON.stringify(ours[part]), JSON.stringify(theirs[part])];
    if (a === b) continue;
    const added = JSON.stringify((json.added_tokens as Json[]).filter(({ content }) => CONTENTS.includes(content as string)));
    const details = `${name}, ${JSON.stringify(text)}, ids ${JSON.stringify(row)}, add ${add}, split ${split}\nadded: ${added}\nours:   ${a}\npython: ${b}`;
    return { agrees: false, what: part === "ids" ? "other ids" : "other text", details };
  }
  // A test puts the added tokens into the fixture's file again.
  const { ids: theirIds, text: decoded, skipped } = theirs;
  const keep = { file: name, added: json.added_tokens, text, add, split, ids: theirIds, row, decoded, skipped };
  return { agrees: true, what: "the same", ...(isFixture(name) && { keep }) };
}

export const tokenizers: Target = { name: "tokenizers", needs: "tokenizers", script: "tokenizers_.py", cases, compare };
