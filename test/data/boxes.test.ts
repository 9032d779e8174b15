// Places as text: what is printed, read and compared, against the published conventions; and how answers that name a place are scored.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Box, boxIou, boxPixels, boxText, parseBox, parseBoxes, pixelIou, pointText } from "../../lib/data/boxes.js";
import { consistent, remapped } from "../../lib/data/referential/consistent.js";
import { scoreGrounding } from "../../lib/eval/grounding.js";
import { Case, caseNames } from "../case.js";

interface Marked {
  id: number;
  bbox: Box;
  ignore: number;
  object_id: number;
  caption: string;
  format_error: number;
}
const near = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-12, `${a}, not ${b}`);

for (const name of caseNames(/^pink-boxes/)) {
  const { info } = new Case(name);

  test(`${name}: boxes are printed with three decimals, of the picture or of the square around it`, () => {
    for (const { bbox, width, height, square, text } of info.format) {
      assert.is(boxText(bbox, { width, height }, { square }), text, JSON.stringify(bbox));
      const back = boxPixels(parseBox(text)!, { width, height }, { square });
      for (const [i, side] of back.entries()) assert.ok(Math.abs(side - bbox[i]) <= 0.0005001 * Math.max(width, height));
    }
  });

  test(`${name}: an answer is a box where it has four numbers`, () => {
    for (const { text, valid, box, bracketed } of info.parse) {
      assert.equal(parseBox(text), valid ? box : undefined, text);
      // The published pattern takes any character for the point.
      const numbers = bracketed.filter((group: string[]) => group.every((one) => /^\d\.\d{3}$/.test(one)));
      assert.equal(parseBoxes(text).map(({ box: one }) => [...one]), numbers.map((group: string[]) => group.map(Number)), text); // biome-ignore format: one line
    }
  });

  test(`${name}: IoU, plain and as the filter has it`, () => {
    for (const { a, b, iou, plain_iou: plain, keep } of info.iou) {
      near(pixelIou(a, b), iou);
      near(boxIou(a, b), plain);
      assert.is(consistent([{ text: "", box: a, predicted: b }], info.iou_threshold).length === 1, keep);
    }
  });

  test(`${name}: pairs that agree keep the annotated box; boxes of a caption find the object they mean`, () => {
    for (const { anno, pred, kept } of info.filter) {
      const found = pred.map((one: Marked) => ({
        text: one.caption,
        box: (anno as Marked[])[one.object_id]!.bbox,
        predicted: one.format_error ? undefined : one.bbox,
      }));
      const wanted = kept.map(({ caption: text, bbox: box }: Marked) => ({ text, box }));
      assert.equal(consistent(found, info.iou_threshold), wanted);
    }
    for (const { text, width, height, anno, best_iou: best, id } of info.remap) {
      const objects = anno.map((one: Marked) => ({ id: one.id, box: one.bbox, ignore: one.ignore === 1 }));
      const [one, ...more] = remapped(`a thing ${text}, seen`, objects, { width, height });
      assert.equal(more, []);
      near(one!.iou, best);
      assert.is(one!.object?.id ?? null, id);
    }
  });
}

test("of boxes that are none, IoU is 0; a point has two numbers", () => {
  for (const other of [[0, 0, 0, 0], [5, 5, 4, 4], [20, 20, 30, 30], [10, 0, 20, 10]] as Box[]) assert.is(boxIou([0, 0, 10, 10], other), 0); // biome-ignore format: one line
  assert.is(boxIou([2, 2, 4, 4], [2, 2, 4, 4]), 1);
  assert.is(pointText([10, 5], { width: 100, height: 50 }), "[0.100,0.100]");
  assert.is(pointText([10, 5], { width: 100, height: 50 }, { square: true }), "[0.100,0.300]");
});

test("answers are right from the threshold on; what names no box, or two, is wrong", () => {
  const size = { width: 200, height: 100 };
  const box: Box = [20, 10, 120, 60];
  const answers = [
    boxText(box, size), // IoU 1
    "it is in [0.100,0.100,0.600,0.350]", // the upper half of it
    "[0.100,0.100,0.600,0.300]", // less
    `${boxText(box, size)} or ${boxText(box, size)}`,
    "nowhere",
  ].map((answer) => ({ answer, box, ...size }));
  const score = scoreGrounding(answers);
  assert.equal([score.right, score.count, score.malformed, score.accuracy], [2, 5, 2, 0.4]);
  near(score.meanIou, (1 + 0.5 + 0.4) / 5);
  assert.is(scoreGrounding(answers, { threshold: 0.6 }).right, 1);
  const low: Box = [20, 10, 120, 30];
  const padded = { answer: boxText(low, size, { square: true }), box: low, ...size };
  assert.equal([scoreGrounding([padded], { square: true }).right, scoreGrounding([padded]).right], [1, 0]);
  assert.throws(() => scoreGrounding([]), /at least one answer/);
  assert.throws(() => scoreGrounding(answers, { threshold: 0 }), /above 0/);
  assert.throws(() => scoreGrounding(answers, { treshold: 1 } as object), /did you mean "threshold"/);
});

test.run();
