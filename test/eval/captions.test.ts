// Caption scores against coco-caption's tools, on their tokens and on raw text.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type CaptionScore, scoreCaptions } from "../../lib/eval/captions.js";
import { Case, near } from "../case.js";

interface Scores {
  bleu: number[];
  rouge_l: number;
  cider_d: number;
  cider: number;
}
interface Subcase {
  id: string;
  raw?: Record<string, { refs: string[]; hyp: string }>;
  tokenised: Record<string, { refs: string[]; hyp: string }>;
  expected: Scores & { per_image: { ids: string[]; bleu: number[][]; rouge_l: number[]; cider_d: number[]; cider: number[] } };
}

const { info } = new Case("metric_captions");
const flat = ({ bleu, rougeL, ciderD, cider }: CaptionScore) => [...bleu, rougeL, ciderD, cider];
const words = (text: string) => text.split(" ").filter(Boolean);

for (const { id, raw, tokenised, expected } of info.subcases as Subcase[]) {
  const { ids, ...each } = expected.per_image;
  const check = (texts: Subcase["tokenised"], tokenize?: (text: string) => string[]) => {
    const pairs = ids.map((image) => ({ hypothesis: texts[image]!.hyp, references: texts[image]!.refs }));
    const got = scoreCaptions(pairs, tokenize ? { tokenize } : {});
    near(flat(got), [...expected.bleu, expected.rouge_l, expected.cider_d, expected.cider], 1e-9, `${id}: corpus`);
    for (const [i, image] of ids.entries()) {
      const want = [...each.bleu[i]!, each.rouge_l[i]!, each.cider_d[i]!, each.cider[i]!];
      near(flat(got.perItem[i]!), want, 1e-9, `${id}: ${image}`);
    }
  };
  test(`${id}: scores of the reference's tokens`, () => check(tokenised, words));
  if (raw) test(`${id}: scores of raw text`, () => check(raw));
}

test("nothing to score, and nothing to score against", () => {
  assert.throws(() => scoreCaptions([]), /at least one caption/);
  assert.throws(
    () =>
      scoreCaptions([
        { hypothesis: "a", references: ["a"] },
        { hypothesis: "a", references: [] },
      ]),
    /item 1: expected at least one reference/,
  );
});

test.run();
