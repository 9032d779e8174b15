// The steps of tokenizer.json that hold expressions, Split and Replace: published expressions, and others made of their parts.
import { Tokenizer } from "@huggingface/tokenizers";
import { isNullable, parse, type Tree } from "../../../lib/core/regex/tree.js";
import { boundStep, type PatternStep } from "../../../lib/text/hub-patterns.js";
import { PUBLISHED } from "../../../lib/text/published-splits.js";
import type { Random } from "../../fuzz/random.js";
import type { Target, Verdict } from "../target.js";

interface Case {
  pattern: { Regex: string } | { String: string };
  behavior: string;
  invert: boolean;
  content: string;
  text: string;
}

// biome-ignore format: a table
const PARTS = ["a", "b", " ?", "\\s", "\\S", "\\p{L}", "\\p{N}", "\\p{Lu}", "[^\\s\\p{L}]", "[ab]", "[^a\\r\\n]", "'s", ".", "\\n", "é", "日", "[0-9]", "(?!\\S)", "(?=a)", "(?<=a)", "^", "$", "\\b", "\\w", "\\d", "(?i:ab)"];
const BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"];
// biome-ignore format: a table
const LETTERS = ["a", "a", "b", "A", "B", " ", " ", "\n", "\r\n", "1", "2", "é", "日", "🙂", "'s", ".", ",", "-", "_", "\t", "ab", "\u00a0", "\u0301"];

function expression(random: Random, depth: number): string {
  const times = () => (random.chance(0.5) ? random.pick(["*", "+", "?", "{1,3}", "*?", "+?", "{2}"]) : "");
  const again = (part: string) => (/^(\(\?[!=<]|\^|\$|\\b)/.test(part) || /\?$/.test(part) ? part : part + times());
  const kind = random.below(depth ? 6 : 2);
  if (kind < 2) return again(random.pick(PARTS));
  if (kind < 4) return expression(random, depth - 1) + expression(random, depth - 1);
  const both = `${expression(random, depth - 1)}|${expression(random, depth - 1)}`;
  return kind === 4 ? both : `(${random.chance(0.5) ? "?:" : ""}${both})${times()}`;
}

function* cases(random: Random, count: number): Generator<Case> {
  for (let i = 0; i < count; ++i) {
    const kind = random.below(4);
    const pattern =
      kind === 0
        ? { String: random.pick(["a", " ", "ab", "aa", "日", ".", "'s", ""]) }
        : { Regex: kind === 1 ? random.pick([...PUBLISHED]) : expression(random, 3) };
    const text = Array.from({ length: random.below(16) }, () => random.pick(LETTERS)).join("");
    yield { pattern, behavior: random.pick(BEHAVIORS), invert: random.chance(0.3), content: random.pick(["", "_", "$&", "ab"]), text };
  }
}

interface Parts {
  words: string[];
  replaced: string;
}
function partsOf({ pattern, behavior, invert, content, text }: Case): Parts {
  const json = {
    model: { type: "BPE", vocab: {}, merges: [] },
    added_tokens: [],
    post_processor: null,
    decoder: null,
    normalizer: { type: "Replace", pattern, content },
    pre_tokenizer: { type: "Split", pattern, behavior, invert },
  };
  const { normalizer, pre_tokenizer } = new Tokenizer(json, {}) as unknown as {
    normalizer: (text: string) => string;
    pre_tokenizer: (text: string) => string[];
  };
  for (const step of [normalizer, pre_tokenizer]) boundStep(step as unknown as PatternStep);
  return { words: pre_tokenizer(text), replaced: normalizer(text) };
}

/** Has it a loop whose turns may take nothing? */
function takesNothing(tree: Tree): boolean {
  if (tree.kind === "repeat") return isNullable(tree.of) || takesNothing(tree.of);
  if (tree.kind === "look") return takesNothing(tree.of);
  return (tree.kind === "sequence" ? tree.items : tree.kind === "choice" ? tree.options : []).some(takesNothing);
}

const parts = ({ words, replaced }: Parts) => JSON.stringify([words, replaced]);

function compare(input: unknown, answer: unknown): Verdict {
  const asked = input as Case;
  const { value: theirs, error } = answer as { value?: Parts; error?: string };
  let ours: Parts;
  try {
    ours = partsOf(asked);
  } catch (refused) {
    return { agrees: true, what: theirs ? `refused here: ${(refused as Error).message.slice(0, 60)}` : "both refuse" };
  }
  if (!theirs) return { agrees: true, what: `Python refuses: ${error?.slice(0, 60)}` };
  if (parts(ours) === parts(theirs)) return { agrees: true, what: "the same", keep: { ...asked, ...theirs } };
  const { Regex = "" } = asked.pattern as { Regex?: string };
  if (takesNothing(parse(Regex.replaceAll("(?i:", "(?:"), true)))
    return { agrees: true, what: "other turns of a loop that takes nothing, as JavaScript has them" };
  const what = parts({ ...ours, replaced: theirs.replaced }) === parts(theirs) ? "another text" : "other words";
  return { agrees: false, what, details: `${JSON.stringify(asked)}\nours:   ${parts(ours)}\npython: ${parts(theirs)}` };
}

export const splits: Target = { name: "splits", needs: "tokenizers", script: "splits.py", cases, compare };
