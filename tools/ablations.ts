// `npm run ablations`: what AnyMAL's choices do in the tiny world, pictures alone: one recipe, each choice exchanged by itself, as `anymal sweep` does it.
//   npm run ablations -- --output FOLDER --seeds 3 --page docs/ablations.md
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WORLD_PROMPTS } from "../lib/data/world/language.js";
import { writeWorld } from "../lib/data/world/write.js";
import { type SweepPlan, sweep, sweepTable } from "../lib/index.js";

const { values } = parseArgs({
  options: {
    output: { type: "string", default: "build/ablations" },
    seeds: { type: "string", default: "3" },
    page: { type: "string" },
    effort: { type: "string", default: "1" },
    device: { type: "string", default: process.env.ANYMAL_DEVICE ?? "cpu" },
  },
});
const [seeds, effort] = [Number(values.seeds), Number(values.effort)];
const models = fileURLToPath(new URL("../models/tiny", import.meta.url));
const steps = (count: number) => Math.max(1, Math.round(effort * count));
const data = join(values.output, "world");
const stop = new AbortController();
process.once("SIGINT", () => stop.abort());

const projector = { type: "resampler", layers: 2, tokens: 8, heads: 4 };
const lora = { r: 8, alpha: 16, dropout: 0 };
const plan: SweepPlan = {
  recipe: {
    model: {
      llm: join(models, "llama"),
      quantization: "nf4",
      dtype: "bf16",
      modalities: { image: { encoder: join(models, "clip"), projector } },
    },
    align: {
      image: {
        ...{ data: join(data, "image/captions.train.jsonl"), prompts: [...WORLD_PROMPTS.image] },
        ...{ steps: steps(400), batch: 32, learningRate: 2e-3 },
      },
    },
    instruct: { data: join(data, "image/instruct.train.json"), steps: steps(400), batch: 32, microBatch: 16, learningRate: 2e-3, lora },
  },
  vary: {
    "model.modalities.image.projector.layers": [1, 2, 6],
    "model.modalities.image.projector.tokens": [2, 8, 16],
    "align.image.batch": [8, 32, 64],
    "instruct.lora": [false, lora],
    "model.quantization": ["none", "int8", "nf4"],
    "answer.quantization": ["nf4", "none"],
    "model.modalities.image.layer": [-2, -1],
    "model.modalities.image.select": ["all", "patch", "pooled"],
  },
  seeds: Array.from({ length: seeds }, (_, seed) => seed),
  ask: { data: join(data, "image/instruct.heldout.json") },
};

if (!existsSync(join(data, "image/instruct.heldout.json")))
  await writeWorld(data, { seed: 0, train: { image: steps(6000) }, heldout: { image: steps(512) }, signal: stop.signal });
const start = performance.now();
const rows = await sweep(plan, {
  output: values.output,
  device: values.device,
  signal: stop.signal,
  onResult: (name, { seed, exact, minutes }) =>
    console.log(`${name}, seed ${seed}: ${(100 * exact).toFixed(1)} % exact, ${minutes.toFixed(1)} minutes; ${((performance.now() - start) / 60_000).toFixed(0)} in all`), // biome-ignore format: one line
});
const table = sweepTable(rows);
console.log(table);
if (values.page) {
  const page = readFileSync(values.page, "utf8");
  const [begin, end] = ["<!-- table -->", "<!-- end of the table -->"];
  const charts = [...new Set(rows.map(({ group }) => group))].map((group) => chartOf(group, values.page as string));
  const block = `${table.trimEnd()}\n\n${charts.join("\n")}\n`;
  writeFileSync(values.page, `${page.slice(0, page.indexOf(begin) + begin.length)}\n\n${block}\n${page.slice(page.indexOf(end))}`);
}

/** The sweep's chart of a group, in a folder of the page's name; gives what shows it. */
function chartOf(group: string, page: string): string {
  const folder = basename(page, ".md");
  mkdirSync(join(dirname(page), folder), { recursive: true });
  copyFileSync(join(values.output, `${group}.svg`), join(dirname(page), folder, `${group}.svg`));
  return `![${group}](${folder}/${group}.svg)`;
}
