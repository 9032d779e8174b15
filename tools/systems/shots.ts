// Rules that only the examples of a prompt tell, drawn anew for each prompt, and asked of one more picture.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AnyMAL } from "../../lib/anymal/anymal.js";
import { Draw } from "../../lib/data/draw.js";
import type { Content, Turn } from "../../lib/data/row.js";
import { type ImageScene, INSTRUMENTS } from "../../lib/data/world/scenes.js";
import { type Split, worldScene } from "../../lib/data/world/write.js";
import { derange } from "../../lib/eval/controls.js";
import { scoreExact } from "../../lib/eval/exact.js";
import { image } from "../../lib/media/image.js";
import { type OwnQuestions, scaled } from "./trial.js";

const [ROWS, ASKED] = [6000, 256];
/** Examples before a question that is asked. */
const SHOTS = [0, 2, 4];
const QUESTION = "what is this?";

type Thing = ImageScene["things"][number];
/** A picture of one thing. */
interface Picture {
  image: string;
  thing: Thing;
}
interface Shown {
  image: string;
  answer: string;
  /** What stands before it in the prompt tells the answer, to who sees the picture. */
  told: boolean;
}
/** Pictures with their answers: so many examples, and one more. */
type Rule = (pictures: readonly Picture[], shots: number, draw: Draw) => Shown[];

/** Two colours have names. Of two examples there is one of each, of four two. */
export const names: Rule = (pictures, shots, draw) => {
  const colours = draw.shuffled([...new Set(pictures.map(({ thing }) => thing.color))]).slice(0, 2);
  if (colours.length < 2) throw new Error("examples of two colours need pictures of both: take more effort");
  const called = draw.shuffled(INSTRUMENTS);
  const known = new Set<number>();
  const shown = (which: number): Shown => {
    const told = known.has(which);
    known.add(which);
    const { image: file } = draw.pick(pictures.filter(({ thing }) => thing.color === colours[which]));
    return { image: file, answer: called[which] as string, told };
  };
  const examples = Array.from({ length: shots / 2 }, () => draw.shuffled([0, 1]).map(shown)).flat();
  return [...examples, shown(draw.below(2))];
};

const ATTRIBUTES = ["color", "shape", "place"] as const;
/** The question, the same for all, asks for one of three attributes. */
export const attributes: Rule = (pictures, shots, draw) => {
  const attribute = draw.pick(ATTRIBUTES);
  return Array.from({ length: shots + 1 }, (_, i) => {
    const { image: file, thing } = draw.pick(pictures);
    return { image: file, answer: thing[attribute], told: i > 0 };
  });
};

function picturesOf(data: string, seed: number, split: Split): Picture[] {
  const rows = JSON.parse(readFileSync(join(data, "image", `instruct.${split}.json`), "utf8")) as { image: string }[];
  return rows.flatMap(({ image: file }, index) => {
    const { things } = worldScene(seed, "image", split, index).scene as ImageScene;
    return things.length === 1 ? [{ image: file, thing: things[0] as Thing }] : [];
  });
}

/** An answer that nothing before it tells counts nothing. */
const rowOf = (chain: readonly Shown[], id: string): object => ({
  id,
  images: chain.map(({ image: file }) => file),
  conversations: chain.flatMap(({ answer, told }) => [
    { from: "human", value: `<image>${QUESTION}` },
    { from: "gpt", value: answer, ...(!told && { weight: 0 }) },
  ]),
});

function promptOf(data: string, chain: readonly Shown[], last = chain.at(-1) as Shown): Turn[] {
  const asking = (file: string): Turn => ({ role: "user", content: [image(join(data, "image", file)), QUESTION] satisfies Content });
  const examples = chain
    .slice(0, -1)
    .flatMap(({ image: file, answer }): Turn[] => [asking(file), { role: "assistant", content: [answer] }]);
  return [...examples, asking(last.image)];
}

/** Shares of right answers behind so many examples, and behind the most of them with a picture of another prompt in the end. */
export const shotsOf = (rule: Rule): OwnQuestions => ({
  async write({ data, seed, effort }) {
    const pictures = picturesOf(data, seed, "train");
    const rows = Array.from({ length: scaled(ROWS, effort) }, (_, i) => {
      const draw = new Draw(seed, `shots/${i}`);
      return rowOf(rule(pictures, draw.pick([2, 4]), draw), `shots-${i}`);
    });
    const file = join(data, "image", "shots.train.json");
    writeFileSync(file, JSON.stringify(rows));
    return [file];
  },
  async ask(model: AnyMAL, { data, seed, effort, signal }) {
    const pictures = picturesOf(data, seed, "heldout");
    const asked = async (count: number, swap: boolean) => {
      const chains = Array.from({ length: scaled(ASKED, effort) }, (_, i) => rule(pictures, count, new Draw(seed, `asked/${count}/${i}`)));
      const other = swap ? derange(chains.length, { seed }) : chains.map((_, i) => i);
      const prompts = chains.map((chain, i) => promptOf(data, chain, chains[other[i] as number]?.at(-1)));
      const answers = await model.generateAll(prompts, { maxNewTokens: 8, batch: 64, signal });
      return scoreExact(answers.map((answer, i) => ({ answer, correct: chains[i]?.at(-1)?.answer as string }))).exact;
    };
    const found: Record<string, number> = {};
    for (const count of SHOTS) found[`shots${count}`] = await asked(count, false);
    const most = SHOTS.at(-1) as number;
    found[`shots${most}Shuffled`] = await asked(most, true);
    return found;
  },
});
