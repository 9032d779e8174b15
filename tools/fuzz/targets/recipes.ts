// lib/train/recipe.ts: a recipe's file, in YAML or JSON.
import { readRecipe } from "../../../lib/train/recipe.js";
import { changedJson } from "../json-value.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";

const RECIPE = {
  align: { image: { steps: 5, batch: 4, learningRate: 1e-3, warmupSteps: 1, betas: [0.9, 0.99], data: "captions.csv", prompts: ["x"] } },
  instruct: { steps: 5, batch: 2, onBadRow: "skip", lora: { r: 4, alpha: 8, dropout: 0.1, targetModules: ["q_proj"] } },
  media: { imu: { acceleration: "g" } },
  output: "run",
};
const YAML = `# a recipe
align:
  image: &one
    steps: 5
    batch: 4
  audio: *one
instruct:
  steps: 2
  lora: {r: 4, alpha: 8}
`;
const ODD = [
  "&a [*a]",
  "*none",
  "!!js/function x",
  "!!binary aGk=",
  "<<: *one",
  "? [a]\n: b",
  "- - - -",
  "|\n  x",
  "'",
  "{",
  "[[[[",
  "a: b: c",
  "---\n",
  "%TAG ! x",
  "\t",
  "0x",
  "1e999",
  ".nan",
  "~",
];

function build(random: Random): Uint8Array {
  if (random.chance(0.3)) return Buffer.from(changedJson(random, RECIPE));
  const lines = YAML.split("\n");
  for (let n = 1 + random.below(3); n > 0; --n) {
    const at = random.below(lines.length);
    const line = lines[at] as string;
    const many = random.pick([1, 1, 10, 300]);
    switch (random.below(4)) {
      case 0:
        lines.splice(at, 1);
        break;
      case 1:
        lines.splice(at, 0, ...Array.from({ length: many }, (_, i) => line.replace(/(\w+):/, `$1${i}:`)));
        break;
      case 2:
        lines[at] = line.replace(/(: ?)\S*$/, `$1${random.pick(ODD)}`);
        break;
      default:
        lines[at] = random.pick(ODD).repeat(many);
    }
  }
  return Buffer.from(lines.join("\n"));
}

const seed = (text: string): Seed => ({ bytes: Buffer.from(text), fields: [] });

export const recipes: Target = {
  name: "recipes",
  seeds: [seed(YAML), seed(JSON.stringify(RECIPE))],
  build,
  mostBytes: 256 * 2 ** 20, // of yaml's tree, which takes a thousand times the text, of 128 KiB at most
  async run(_bytes, path) {
    await readRecipe(path);
  },
};
