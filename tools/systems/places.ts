// Where things are in the tiny world's pictures, as rows that Pink trains on, and how many boxes a model names right of pictures that no training has shown.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnyMAL } from "../../lib/anymal/anymal.js";
import { type Box, boxText } from "../../lib/data/boxes.js";
import { Draw } from "../../lib/data/draw.js";
import { FRAME, renderPlaced } from "../../lib/data/world/render-image.js";
import type { ImageScene } from "../../lib/data/world/scenes.js";
import { type Split, worldScene } from "../../lib/data/world/write.js";
import { derange } from "../../lib/eval/controls.js";
import { scoreGrounding } from "../../lib/eval/grounding.js";
import { image } from "../../lib/media/image.js";
import type { OwnQuestions } from "./trials.js";

const SIZE = { width: FRAME, height: FRAME };
export const whereIs = (text: string): string => `where is the ${text}?`;
export const whatIsIn = (box: string): string => `what is in ${box}?`;

export interface Placed {
  image: string;
  things: { text: string; box: Box }[];
}

/** Of the pictures of writeWorld()'s lists, in their order. */
export function placedIn(data: string, seed: number, split: Split): Placed[] {
  const rows = JSON.parse(readFileSync(join(data, "image", `instruct.${split}.json`), "utf8")) as { image: string }[];
  return rows.map((row, index) => {
    const { scene, draw } = worldScene(seed, "image", split, index);
    const { boxes } = renderPlaced(scene as ImageScene, draw);
    return { image: row.image, things: (scene as ImageScene).things.map(({ color, shape }, i) => ({ text: `${color} ${shape}`, box: boxes[i] as Box })) }; // biome-ignore format: one line
  });
}

/** Of each thing its place, and of each place its thing, as rows in LLaVA's layout. */
export function writePlaces(file: string, pictures: readonly Placed[], seed: number): void {
  const rows = pictures.map(({ image: picture, things }, i) => {
    const asked = things.flatMap(({ text, box }) => [
      [whereIs(text), boxText(box, SIZE)],
      [whatIsIn(boxText(box, SIZE)), text],
    ]);
    const turns = new Draw(seed, `places/${i}`).shuffled(asked).flatMap(([question, answer], turn) => [
      { from: "human", value: turn ? question : `${question} <image>` },
      { from: "gpt", value: answer },
    ]);
    return { id: `place-${i}`, image: picture, conversations: turns };
  });
  writeFileSync(file, JSON.stringify(rows));
}

export interface PlaceScores {
  /** Shares of boxes with IoU of at least 0.5: with the picture, and with another one. */
  boxes: number;
  boxesShuffled: number;
  meanIou: number;
}

export async function askPlaces(
  model: AnyMAL,
  data: string,
  pictures: readonly Placed[],
  seed: number,
  signal: AbortSignal,
): Promise<PlaceScores> {
  const parts = pictures.map(({ image: file }) => image(join(data, "image", file)));
  const ask = async (shown: readonly number[]) => {
    const prompts = pictures.map(({ things }, i) => [`${whereIs(things[0]!.text)} `, parts[shown[i]!]!]);
    const answers = await model.generateAll(prompts, { maxNewTokens: 40, batch: 64, signal });
    return scoreGrounding(answers.map((answer, i) => ({ answer, box: pictures[i]!.things[0]!.box, ...SIZE })));
  };
  const seen = await ask(pictures.map((_, i) => i));
  const others = await ask(derange(pictures.length, { seed }));
  return { boxes: seen.accuracy, boxesShuffled: others.accuracy, meanIou: seen.meanIou };
}

/** Pink's: rows of places among the questions, and boxes of held-out combinations. */
export const places: OwnQuestions = {
  write(data, seed) {
    const file = join(data, "image", "places.train.json");
    writePlaces(file, placedIn(data, seed, "train"), seed);
    return [file];
  },
  async ask(model, { data, seed, signal }) {
    return { ...(await askPlaces(model, data, placedIn(data, seed, "heldout"), seed, signal)) };
  },
};
