// Scores of captions against references: BLEU 1 to 4, ROUGE-L, CIDEr-D and plain CIDEr, the numbers of coco-caption's tools. Document
// frequencies come from the corpus itself. Papers print CIDEr ×100: their 100 is a 1 here.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { captionTokens } from "./ptb-tokenizer.js";

export interface CaptionPair {
  hypothesis: string;
  references: readonly string[];
}
export interface CaptionScore {
  /** BLEU-1 to BLEU-4, from 0 to 1. */
  bleu: number[];
  rougeL: number;
  /** From 0 to 10. */
  ciderD: number;
  cider: number;
}
export interface CaptionScores extends CaptionScore {
  perItem: CaptionScore[];
}
export interface CaptionScoring {
  /** Text → tokens. Default: Penn Treebank tokens in lower case without punctuation, as the published numbers have it. */
  tokenize?: (text: string) => string[];
}

const ORDERS = 4;
const CIDER_SIGMA = 6;
const ROUGE_BETA = 1.2;
// What coco-caption adds so that nothing is divided by zero.
const [SMALL, TINY] = [1e-9, 1e-15];

/** Corpus scores and each item's own. An item with an empty hypothesis scores 0; a corpus of one item has no document frequencies: CIDEr 0. */
export function scoreCaptions(pairs: readonly CaptionPair[], scoring: CaptionScoring = {}): CaptionScores {
  checkOptions("scoreCaptions", scoring, ["tokenize"]);
  const { tokenize = captionTokens } = scoring;
  if (!pairs.length) throw expected("E_VALUE", "scoreCaptions", "at least one caption", "none");
  const items = pairs.map(({ hypothesis, references }, i) => {
    if (!references.length) throw expected("E_VALUE", `scoreCaptions: item ${i}`, "at least one reference", "none", "leave the item out");
    return { hypothesis: tokenize(hypothesis), references: references.map(tokenize) };
  });
  const counted = items.map(({ hypothesis, references }) => ({ hypothesis: ngrams(hypothesis), references: references.map(ngrams) }));
  const bleu = scoreBleu(counted);
  const weights = inverseFrequencies(counted.map(({ references }) => references));
  const perItem = items.map(({ hypothesis, references }, i): CaptionScore => {
    const { hypothesis: h, references: rs } = counted[i] as Counted;
    const [weighed, weighedReferences] = [weigh(h, weights), rs.map((r) => weigh(r, weights))];
    return {
      bleu: bleu.perItem[i] as number[],
      rougeL: rougeL(hypothesis, references),
      ciderD: cider(weighed, weighedReferences, ciderDSimilarity),
      cider: cider(weighed, weighedReferences, ciderSimilarity),
    };
  });
  const mean = (of: (score: CaptionScore) => number) => perItem.reduce((sum, score) => sum + of(score), 0) / perItem.length;
  return { bleu: bleu.corpus, rougeL: mean((s) => s.rougeL), ciderD: mean((s) => s.ciderD), cider: mean((s) => s.cider), perItem };
}

/** How often each n-gram occurs, by order. */
interface Counts {
  length: number;
  byOrder: Map<string, number>[];
}
interface Counted {
  hypothesis: Counts;
  references: Counts[];
}

function ngrams(tokens: readonly string[]): Counts {
  const byOrder = Array.from({ length: ORDERS }, (_, order) => {
    const counts = new Map<string, number>();
    for (let i = 0; i + order < tokens.length; ++i) {
      const gram = tokens.slice(i, i + order + 1).join(" ");
      counts.set(gram, (counts.get(gram) ?? 0) + 1);
    }
    return counts;
  });
  return { length: tokens.length, byOrder };
}

// BLEU: matches are clipped by the reference that has most of them, lengths compare with the closest reference (the shorter of two).

interface BleuCounts {
  length: number;
  closest: number;
  guessed: number[];
  correct: number[];
}

function scoreBleu(items: readonly Counted[]): { corpus: number[]; perItem: number[][] } {
  const counts = items.map(bleuCounts);
  const total = counts.reduce((a, b) => ({
    length: a.length + b.length,
    closest: a.closest + b.closest,
    guessed: a.guessed.map((n, k) => n + (b.guessed[k] as number)),
    correct: a.correct.map((n, k) => n + (b.correct[k] as number)),
  }));
  return { corpus: bleuOf(total), perItem: counts.map(bleuOf) };
}

function bleuCounts({ hypothesis, references }: Counted): BleuCounts {
  const { length, byOrder } = hypothesis;
  const [closest] = references.map((r) => r.length).sort((a, b) => Math.abs(a - length) - Math.abs(b - length) || a - b) as [number];
  const correct = byOrder.map((counts, k) => {
    let sum = 0;
    for (const [gram, count] of counts) sum += Math.min(count, Math.max(...references.map((r) => r.byOrder[k]?.get(gram) ?? 0)));
    return sum;
  });
  return { length, closest, guessed: byOrder.map((_, k) => Math.max(0, length - k)), correct };
}

function bleuOf({ length, closest, guessed, correct }: BleuCounts): number[] {
  const ratio = (length + TINY) / (closest + SMALL);
  const brevity = ratio < 1 ? Math.exp(1 - 1 / ratio) : 1;
  let product = 1;
  return guessed.map((n, k) => {
    product *= ((correct[k] as number) + TINY) / (n + SMALL);
    return product ** (1 / (k + 1)) * brevity;
  });
}

/** The F score of the longest common subsequence, with the best precision and the best recall of any reference. */
function rougeL(hypothesis: readonly string[], references: readonly (readonly string[])[]): number {
  // The original splits on blanks, so that an empty text is one empty token.
  const [h, rs] = [orEmpty(hypothesis), references.map(orEmpty)];
  const common = rs.map((r) => longestCommon(h, r));
  const precision = Math.max(...common.map((n) => n / h.length));
  const recall = Math.max(...common.map((n, i) => n / (rs[i] as readonly string[]).length));
  if (precision === 0 || recall === 0) return 0;
  return ((1 + ROUGE_BETA ** 2) * precision * recall) / (recall + ROUGE_BETA ** 2 * precision);
}

const orEmpty = (tokens: readonly string[]): readonly string[] => (tokens.length ? tokens : [""]);

function longestCommon(a: readonly string[], b: readonly string[]): number {
  let above = new Array<number>(b.length + 1).fill(0);
  for (const token of a) {
    const row = [0];
    for (const [j, other] of b.entries())
      row.push(token === other ? (above[j] as number) + 1 : Math.max(above[j + 1] as number, row[j] as number));
    above = row;
  }
  return above[b.length] as number;
}

// CIDEr (arXiv 1411.5726): the cosine of n-gram counts weighed by how rare an n-gram is among the images' references.

/** ln(images / images whose references have the n-gram); an n-gram that no reference has weighs like one that a single image has. */
function inverseFrequencies(references: readonly (readonly Counts[])[]): (gram: string) => number {
  const images = new Map<string, number>();
  for (const own of references) {
    const grams = new Set(own.flatMap(({ byOrder }) => byOrder.flatMap((counts) => [...counts.keys()])));
    for (const gram of grams) images.set(gram, (images.get(gram) ?? 0) + 1);
  }
  const logImages = Math.log(references.length);
  return (gram) => logImages - Math.log(images.get(gram) ?? 1);
}

interface Weighed {
  /** Counted in bigrams, as the original does: one less than there are words, and 0 for none. */
  length: number;
  byOrder: { weights: Map<string, number>; norm: number }[];
}

function weigh({ length, byOrder }: Counts, weightOf: (gram: string) => number): Weighed {
  return {
    length: Math.max(0, length - 1),
    byOrder: byOrder.map((counts) => {
      const weights = new Map(Array.from(counts, ([gram, count]) => [gram, count * weightOf(gram)]));
      let squares = 0;
      for (const weight of weights.values()) squares += weight * weight;
      return { weights, norm: Math.sqrt(squares) };
    }),
  };
}

type Similarity = (h: number, r: number) => number;
interface Kind {
  product: Similarity;
  /** Of the two lengths. */
  penalty: Similarity;
}
const ciderSimilarity: Kind = { product: (h, r) => h * r, penalty: () => 1 };
/** Robust against repeated words and padded lengths. */
const ciderDSimilarity: Kind = {
  product: (h, r) => Math.min(h, r) * r,
  penalty: (h, r) => Math.exp(-((h - r) ** 2) / (2 * CIDER_SIGMA ** 2)),
};

function cider(hypothesis: Weighed, references: readonly Weighed[], { product, penalty }: Kind): number {
  let sum = 0;
  for (const reference of references) {
    for (const [k, { weights, norm }] of hypothesis.byOrder.entries()) {
      const other = reference.byOrder[k] as Weighed["byOrder"][number];
      if (norm === 0 || other.norm === 0) continue; // then every product is 0 as well
      let dot = 0;
      for (const [gram, weight] of weights) dot += product(weight, other.weights.get(gram) ?? 0);
      sum += (dot / (norm * other.norm)) * penalty(hypothesis.length, reference.length);
    }
  }
  return (10 * sum) / (ORDERS * references.length);
}
