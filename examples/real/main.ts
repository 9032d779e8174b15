// From nothing to answers about real sounds and pictures: npx tsx examples/real/main.ts --data ../shared/real --seed 0. README.md beside this file says more.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { device } from "../../lib/index.js";
import { trainAndAsk } from "./ask.js";
import { pictures, type Split, speakersIn, spoken } from "./data.js";
import { openEncoder, trainEncoder } from "./encoder.js";
import { trainLanguage } from "./language.js";
import { PICTURES } from "./pictures.js";
import { SOUNDS } from "./sounds.js";
import { type Outcome, table } from "./table.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    data: { type: "string", default: process.env.ANYMAL_REAL ?? "../shared/real" },
    output: { type: "string", default: "runs/real" },
    seed: { type: "string", default: "0" },
    speaker: { type: "string" },
    effort: { type: "string", default: "1" },
  },
});
const { data } = values;
const [seed, effort] = [Number(values.seed), Number(values.effort)];
const speakers = speakersIn(data);
/** Whom no training hears. */
const unheard = values.speaker ?? (speakers.at(-1) as string);
if (speakers.length < 2 || !speakers.includes(unheard))
  throw new RangeError(`--speaker: expected one of ${speakers}, and another to train on`);
const output = join(values.output, `seed-${seed}-${unheard}`);
const llm = join(output, "llama");
const folders = { audio: join(output, "sounds"), image: join(output, "pictures") };
const cpu = device("cpu");

const sounds = async (): Promise<Split> => ({
  train: await spoken(
    data,
    speakers.filter((name) => name !== unheard),
  ),
  test: await spoken(data, [unheard]),
});
const photos = async (): Promise<Split> => ({ train: await pictures(data, "train"), test: await pictures(data, "test") });
const wordsOf = ({ train }: Split): string[] => [...new Set(train.map(({ word }) => word))].sort();

/** Each reads what those before it have left in the run's folder. */
const STAGES: Readonly<Record<string, () => Promise<Partial<Outcome>>>> = {
  language: async () => {
    await trainLanguage(llm, { digits: wordsOf(await sounds()), things: wordsOf(await photos()) }, cpu, seed, effort);
    return {};
  },
  sounds: async () => ({
    heard: await trainEncoder(SOUNDS, await sounds(), { llm, device: cpu, seed, effort, folder: folders.audio }),
  }),
  pictures: async () => ({
    seen: await trainEncoder(PICTURES, await photos(), { llm, device: cpu, seed, effort, folder: folders.image }),
  }),
  ask: async () => {
    const projector = { type: "linear", mode: "pooled", tokens: 2 } as const;
    const modalities = {
      audio: { encoder: await openEncoder(SOUNDS, folders.audio, cpu), projector },
      image: { encoder: await openEncoder(PICTURES, folders.image, cpu), projector },
    };
    return trainAndAsk({ audio: await sounds(), image: await photos() }, { llm, modalities, device: cpu, output, seed, effort });
  },
};

mkdirSync(output, { recursive: true });
const file = join(output, "outcome.json");
for (const name of positionals.length ? positionals : Object.keys(STAGES)) {
  const stage = STAGES[name];
  if (!stage) throw new RangeError(`expected stages among ${Object.keys(STAGES).join(", ")}, got ${name}`);
  const began = performance.now();
  const made = await stage();
  const before: Partial<Outcome> = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : { seed, unheard };
  const minutes = { ...before.minutes, [name]: (performance.now() - began) / 60_000 };
  writeFileSync(file, `${JSON.stringify({ ...before, ...made, minutes }, null, 1)}\n`);
}
console.log(table(values.output));
