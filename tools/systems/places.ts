// Where things are in pictures of the tiny world, as rows that Pink trains on; how many boxes a model names right of pictures that no training has shown; and
// what self-consistent bootstrapping adds where few pictures have words.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnyMAL } from "../../lib/anymal/anymal.js";
import { type Box, boxText } from "../../lib/data/boxes.js";
import { Draw } from "../../lib/data/draw.js";
import { FRAME } from "../../lib/data/world/render-image.js";
import { derange } from "../../lib/eval/controls.js";
import { scoreGrounding } from "../../lib/eval/grounding.js";
import { image } from "../../lib/media/image.js";
import { bootstrap } from "../../lib/train/bootstrap.js";
import { type Placed, writeScattered } from "./scattered.js";
import { type OwnQuestions, type Shares, scaled } from "./trial.js";

const SIZE = { width: FRAME, height: FRAME };
const QUESTIONS = { grounding: (text: string): string => `where is the ${text}?`, caption: (box: string): string => `what is in ${box}?` };
const [LABELLED, HELD_OUT] = [18_000, 256];
/** Pixels: rows to train on name places on a grid of twentieths. Digits of pixels that the patches do not tell are noise in every gradient. */
const GRID = FRAME / 20;
/** Of bootstrapping: pictures with words, and pictures whose boxes have none. */
const [FEW, UNNAMED] = [1000, 5000];

const onGrid = (side: number): number => Math.round(side / GRID) * GRID;
const rounded = ([x1, y1, x2, y2]: Box): Box => [onGrid(x1), onGrid(y1), onGrid(x2), onGrid(y2)];

/** Of each thing its place, and of each place its thing, as rows in LLaVA's layout. */
function writePlaces(file: string, pictures: readonly Placed[], seed: number): void {
  const rows = pictures.map(({ image: picture, things }, i) => {
    const asked = things.flatMap(({ text, box }) => [
      [QUESTIONS.grounding(text), boxText(rounded(box), SIZE)],
      [QUESTIONS.caption(boxText(rounded(box), SIZE)), text],
    ]);
    const turns = new Draw(seed, `places/${i}`).shuffled(asked).flatMap(([question, answer], turn) => [
      { from: "human", value: turn ? question : `<image>${question}` },
      { from: "gpt", value: answer },
    ]);
    return { id: `place-${i}`, image: picture, conversations: turns };
  });
  writeFileSync(file, JSON.stringify(rows));
}

/** Boxes alone, in COCO's layout: all of one category. */
function writeBoxes(file: string, pictures: readonly Placed[]): void {
  const images = pictures.map(({ image: file_name }, id) => ({ id, file_name, ...SIZE }));
  const annotations = pictures.flatMap(({ things }, image_id) =>
    things.map(({ box }) => {
      const [x1, y1, x2, y2] = rounded(box);
      return { image_id, category_id: 1, bbox: [x1, y1, x2 - x1, y2 - y1] };
    }),
  );
  const numbered = annotations.map((one, id) => ({ id, ...one }));
  writeFileSync(file, JSON.stringify({ images, annotations: numbered, categories: [{ id: 1, name: "thing" }] }));
}

/** Shares of boxes with IoU of at least 0.5: with the picture, and with another one. */
async function askPlaces(model: AnyMAL, data: string, pictures: readonly Placed[], seed: number, signal: AbortSignal) {
  const parts = pictures.map(({ image: file }) => image(join(data, "image", file)));
  const ask = async (shown: readonly number[]) => {
    const prompts = pictures.map(({ things }, i) => [parts[shown[i]!]!, QUESTIONS.grounding(things[0]!.text)]);
    const answers = await model.generateAll(prompts, { maxNewTokens: 40, batch: 64, signal });
    return scoreGrounding(answers.map((answer, i) => ({ answer, box: pictures[i]!.things[0]!.box, ...SIZE })));
  };
  const seen = await ask(pictures.map((_, i) => i));
  const others = await ask(derange(pictures.length, { seed }));
  return { boxes: seen.accuracy, boxesShuffled: others.accuracy, meanIou: seen.meanIou };
}

const heldOut = (data: string, effort: number, seed: number) =>
  writeScattered(data, { name: "places-heldout", held: true, count: scaled(HELD_OUT, effort), seed });

/** Pink's: rows of places among the questions, and boxes of held-out combinations. */
export const places = (labelled = LABELLED, more: readonly string[] = []): OwnQuestions => ({
  async write({ data, seed, effort }) {
    const file = join(data, "image", `places.${labelled}.json`);
    const pictures = await writeScattered(data, { name: "places", held: false, count: scaled(labelled, effort), seed });
    writePlaces(file, pictures, seed);
    return [file, ...more];
  },
  ask: async (model, { data, seed, effort, signal }) => askPlaces(model, data, await heldOut(data, effort, seed), seed, signal),
});

/**
 * Few pictures with words, and what the model itself says of boxes in others and finds again: boxes before are those of one that trained on the few alone, boxes
 * after of one that trained from the beginning on both, as many steps.
 */
export const bootstrapped: OwnQuestions = {
  write: (world) => places(FEW).write(world),
  async ask(model, asked) {
    const { data, seed, effort, signal } = asked;
    const before = await places(FEW).ask(model, asked);
    const [annotations, output] = [join(data, "image", "unnamed.json"), join(data, "image", "bootstrapped.jsonl")];
    const count = scaled(UNNAMED, effort);
    writeBoxes(annotations, await writeScattered(data, { name: "unnamed", held: false, count, seed }));
    const { boxes, kept } = await bootstrap(model, { annotations, output, questions: QUESTIONS, batch: 64, maxNewTokens: 40, signal });
    const after: Shares = kept ? await asked.again(places(FEW, [output])) : before;
    return { ...before, kept: kept / boxes, boxesAfter: after.boxes ?? 0, boxesAfterShuffled: after.boxesShuffled ?? 0 };
  },
};
