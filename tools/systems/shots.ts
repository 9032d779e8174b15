// A rule that only examples tell: in each prompt two colours have names, drawn anew, and a name is asked of a picture whose colour the examples have named.
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
/** Examples before a question that is asked. Of two there is one of each colour, of four two. */
const SHOTS = [0, 2, 4];
const QUESTION = "what is this?";

interface Named {
  image: string;
  name: string;
}

/** Pictures of one thing, by its colour. */
function byColour(data: string, seed: number, split: Split): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const rows = JSON.parse(readFileSync(join(data, "image", `instruct.${split}.json`), "utf8")) as { image: string }[];
  for (const [index, { image: file }] of rows.entries()) {
    const { things } = worldScene(seed, "image", split, index).scene as ImageScene;
    const [one] = things;
    if (things.length === 1 && one) found.set(one.color, [...(found.get(one.color) ?? []), file]);
  }
  return found;
}

/** Examples of both colours in turn, in a random order in each round, and one more picture of either. */
function drawn(pictures: ReadonlyMap<string, readonly string[]>, shots: number, draw: Draw): Named[] {
  if (pictures.size < 2) throw new Error("examples of two colours need pictures of both: take more effort");
  const colours = draw.shuffled([...pictures.keys()]).slice(0, 2);
  const names = draw.shuffled(INSTRUMENTS);
  const named = (which: number): Named => ({
    image: draw.pick(pictures.get(colours[which] as string) as string[]),
    name: names[which] as string,
  });
  const examples = Array.from({ length: shots / 2 }, () => draw.shuffled([0, 1]).map(named)).flat();
  return [...examples, named(draw.below(2))];
}

/** An answer that nothing before it tells counts nothing. */
function rowOf(chain: readonly Named[], id: string): object {
  const known = new Set<string>();
  const conversations = chain.flatMap(({ name }) => {
    const told = known.has(name);
    known.add(name);
    return [
      { from: "human", value: `<image>${QUESTION}` },
      { from: "gpt", value: name, ...(!told && { weight: 0 }) },
    ];
  });
  return { id, images: chain.map(({ image: file }) => file), conversations };
}

function promptOf(data: string, chain: readonly Named[], last = chain.at(-1) as Named): Turn[] {
  const asking = (file: string): Turn => ({ role: "user", content: [image(join(data, "image", file)), QUESTION] satisfies Content });
  const examples = chain.slice(0, -1).flatMap(({ image: file, name }): Turn[] => [asking(file), { role: "assistant", content: [name] }]);
  return [...examples, asking(last.image)];
}

/** Shares of right names behind so many examples, and behind the most of them with a picture of another prompt in the end, which leaves a choice of two. */
export const shots: OwnQuestions = {
  async write({ data, seed, effort }) {
    const pictures = byColour(data, seed, "train");
    const rows = Array.from({ length: scaled(ROWS, effort) }, (_, i) => {
      const draw = new Draw(seed, `shots/${i}`);
      return rowOf(drawn(pictures, draw.pick([2, 4]), draw), `shots-${i}`);
    });
    const file = join(data, "image", "shots.train.json");
    writeFileSync(file, JSON.stringify(rows));
    return [file];
  },
  async ask(model: AnyMAL, { data, seed, effort, signal }) {
    const pictures = byColour(data, seed, "heldout");
    const asked = async (count: number, swap: boolean) => {
      const chains = Array.from({ length: scaled(ASKED, effort) }, (_, i) => drawn(pictures, count, new Draw(seed, `asked/${count}/${i}`)));
      const other = swap ? derange(chains.length, { seed }) : chains.map((_, i) => i);
      const prompts = chains.map((chain, i) => promptOf(data, chain, chains[other[i] as number]?.at(-1)));
      const answers = await model.generateAll(prompts, { maxNewTokens: 8, batch: 64, signal });
      return scoreExact(answers.map((answer, i) => ({ answer, correct: chains[i]?.at(-1)?.name as string }))).exact;
    };
    const found: Record<string, number> = {};
    for (const count of SHOTS) found[`shots${count}`] = await asked(count, false);
    const most = SHOTS.at(-1) as number;
    found[`shots${most}Shuffled`] = await asked(most, true);
    return found;
  },
};
