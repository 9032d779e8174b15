// `npm run synthesis`: the tiny language model learns to ask about what it reads, writes rows about media that it is told of, and every pair is held against
// the scene that the medium shows.
//   npm run synthesis -- --rows 500 --seeds 3 --json FILE
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Draw } from "../lib/data/draw.js";
import { description, dialogue, questions, type Utterance } from "../lib/data/world/language.js";
import { drawScene, type Scene } from "../lib/data/world/scenes.js";
import { worldScene, writeWorld } from "../lib/data/world/write.js";
import {
  AnyMAL,
  exchangesIn,
  LlamaForCausalLM,
  language,
  openDevice,
  type SynthesisKind,
  saveModel,
  synthesize,
  Tokenizer,
} from "../lib/index.js";
import { MODALITIES, rowOf, WordEncoder } from "./pretrain/language.js";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "500" },
    steps: { type: "string", default: "1500" },
    seeds: { type: "string", default: "1" },
    json: { type: "string" },
    device: { type: "string", default: process.env.ANYMAL_DEVICE ?? "cpu" },
  },
});
const [rowsWanted, steps, seeds] = [Number(values.rows), Number(values.steps), Number(values.seeds)];
const TINY = fileURLToPath(new URL("../models/tiny/llama", import.meta.url));
const BATCH = 24;
/** Pairs in a text at most. */
const PAIRS = 3;

/** As the tiny model is asked: it knows no system turn, and few words. */
const ASKING: SynthesisKind = {
  name: "conversation",
  system: () => "",
  request: (text) => `ask about this. ${text}`,
  parse: (text) => exchangesIn(text),
  checked: true,
};
const PROMPTS = { told: (question: string, text: string) => `${text} ${question}`, blind: (question: string) => question };

function asked(scene: Scene, draw: Draw): Utterance[] {
  const some = draw.shuffled(questions(scene, draw)).slice(0, PAIRS);
  return [
    { role: "user", content: ASKING.request(description(scene, draw, 0.8), "") },
    { role: "assistant", content: some.map(({ question, answer }) => `question: ${question} answer: ${answer}`).join(" ") },
  ];
}

/** Half of the rows are what it was trained on before: it answers its own questions later. */
async function learned(folder: string, seed: number): Promise<void> {
  const device = await openDevice(values.device);
  const tokenizer = Tokenizer.fromPretrained(TINY);
  const words = new WordEncoder(tokenizer);
  using model = LlamaForCausalLM.fromPretrained(TINY, { device, dtype: "f32", trainable: true });
  const batch = (step: number) => {
    const draw = new Draw(seed, `asking ${step}`);
    return Array.from({ length: BATCH }, () => {
      const scene = drawScene(draw.pick(MODALITIES), draw, { held: "never", things: 1 + draw.below(2) });
      return rowOf(draw.chance(0.6) ? asked(scene, draw) : dialogue([scene], draw, { turns: 4 }), words);
    });
  };
  for await (const { step, loss } of language(model, { steps, batch, learningRate: 1e-3 }))
    if (step % 100 === 0) console.log(`  seed ${seed}, ${step}/${steps}: loss ${loss.toFixed(3)}`);
  await saveModel(folder, model, JSON.parse(readFileSync(join(TINY, "config.json"), "utf8")), { dtype: "f32" });
  for (const name of ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]) cpSync(join(TINY, name), join(folder, name));
}

/** What is true of a scene: each question that can be asked of it, in all its phrasings, with its answer. */
function truth(scene: Scene): Map<string, string> {
  const known = new Map<string, string>();
  for (let i = 0; i < 64; ++i)
    for (const { question, answer } of questions(scene, new Draw(i, "all phrasings"))) known.set(question, answer);
  return known;
}

interface Figures {
  rows: number;
  pairs: number;
  kept: number;
  /** Shares of the kept pairs, and of all that were written. */
  trueKept: number;
  trueWritten: number;
  guessed: number;
  unsure: number;
  minutes: number;
}

async function tried(seed: number, place: string): Promise<Figures> {
  const start = performance.now();
  const llm = join(place, `llm-${seed}`);
  await learned(llm, seed);
  const data = join(place, `world-${seed}`);
  const each = Math.ceil((1.2 * rowsWanted) / MODALITIES.length);
  const counts = Object.fromEntries(MODALITIES.map((modality) => [modality, each]));
  await writeWorld(data, { seed, train: {}, heldout: counts });
  await using model = await AnyMAL.assemble({ llm, modalities: {}, device: values.device });
  const output = join(place, `rows-${seed}.jsonl`);
  const captions = MODALITIES.map((modality) => join(data, modality, "captions.heldout.jsonl"));
  const common = { captions, kinds: [ASKING], prompts: PROMPTS, seed, sampling: { temperature: 0.9, topP: 1, maxNewTokens: 96 } };
  const report = await synthesize(model, { ...common, output });
  await synthesize(model, { ...common, output: `${output}.all`, verify: false, needsMedium: false });
  const scenes = new Map<string, Scene>();
  for (const modality of MODALITIES)
    for (let i = 0; i < each; ++i) {
      const file = readLines(join(data, modality, "captions.heldout.jsonl"))[i] as Record<string, string>;
      scenes.set(resolve(data, modality, file[modality] as string), worldScene(seed, modality, "heldout", i).scene);
    }
  return {
    ...{ rows: report.rows, pairs: report.pairs, kept: report.kept },
    ...{ trueKept: truthOf(output, scenes, place), trueWritten: truthOf(`${output}.all`, scenes, place) },
    ...{ guessed: report.guessed / report.pairs, unsure: report.unsure / report.pairs },
    minutes: (performance.now() - start) / 60000,
  };
}

const readLines = (path: string): unknown[] =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** The share of a file's pairs that are true. */
function truthOf(file: string, scenes: ReadonlyMap<string, Scene>, place: string): number {
  let [right, all] = [0, 0];
  for (const row of readLines(file) as Record<string, unknown>[]) {
    const modality = MODALITIES.find((name) => name in row) as string;
    const known = truth(scenes.get(resolve(place, row[modality] as string)) as Scene);
    const said = row.conversations as { value: string }[];
    for (let i = 0; i < said.length; i += 2) {
      const question = (said[i] as { value: string }).value.replace(/^<\w+>\n/, "");
      ++all;
      if (known.get(question) === (said[i + 1] as { value: string }).value) ++right;
    }
  }
  return right / all;
}

const place = mkdtempSync(join(tmpdir(), "anymal-synthesis-"));
try {
  const list: Figures[] = [];
  for (let seed = 0; seed < seeds; ++seed) {
    const figures = await tried(seed, place);
    list.push(figures);
    console.log(`seed ${seed}: ${JSON.stringify(figures)}`);
  }
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ steps, rows: rowsWanted, seeds: list }, null, 2)}\n`);
} finally {
  rmSync(place, { recursive: true });
}
