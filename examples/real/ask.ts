// Both encoders aligned to the language model (stage 1), instructed (stage 2), and asked by generation about speakers and pictures that no training saw.
import {
  AnyMAL,
  type AssembleOptions,
  align,
  askHeldOut,
  type Device,
  Draw,
  FeatureCache,
  type HeldOutScores,
  instruct,
  type Row,
  scoreExact,
} from "../../lib/index.js";
import type { Example, Split } from "./data.js";
import { dtypeOn } from "./encoder.js";
import { captionRow, mixedRow, questionRow } from "./rows.js";

export interface AskOptions extends Pick<AssembleOptions, "llm" | "modalities"> {
  device: Device;
  /** Where the runs and their pages go. */
  output: string;
  seed: number;
  effort: number;
}

/** Shares of exact answers. Of `aligned` and `instructed`: with the medium, with a blank one, with another question's. */
export interface Answers {
  aligned: Record<Sense, number>;
  instructed: Record<Sense, HeldOutScores>;
  /** A sound and a picture in one prompt, by what is asked. */
  mixed: Record<Sense | "both", number>;
}
type Sense = "audio" | "image";
const SENSES: readonly Sense[] = ["audio", "image"];

const STAGE1 = { steps: 120, batch: 32, learningRate: 3e-3 };
const STAGE2 = { steps: 160, batch: 48, learningRate: 1.5e-3, lora: { r: 8, alpha: 16, dropout: 0 } };
/** Prompts that hold two media, to train on, and to ask of each kind of question. */
const MIXED = { train: 1500, test: 200 };
/** Media of each kind that are asked about: as they are, blank, and shuffled. */
const ASKED = 500;

export async function trainAndAsk(data: Record<Sense, Split>, options: AskOptions): Promise<Answers> {
  const { llm, modalities, device, output, seed, effort } = options;
  await using model = await AnyMAL.assemble({ llm, modalities, device, dtype: dtypeOn(device), seed });
  const common = { seed, cache: new FeatureCache({ memoryBytes: 2 ** 28 }), reportTo: ["html" as const] };
  const scaled = <T extends { steps: number }>(recipe: T): T => ({ ...recipe, steps: Math.ceil(recipe.steps * effort) });
  const draw = new Draw(seed, "questions");
  const asked = (sense: Sense): readonly Example[] => draw.shuffled(data[sense].test).slice(0, ASKED);
  const test = { audio: asked("audio"), image: asked("image") };

  const aligned = { audio: 0, image: 0 };
  for (const modality of SENSES) {
    const rows = data[modality].train.map((example) => captionRow(modality, example));
    await told(
      `align ${modality}`,
      align(model, { modality, data: rows, ...scaled(STAGE1), ...common, output: `${output}/align-${modality}` }),
    );
    aligned[modality] = await exact(
      model,
      test[modality].map((example) => captionRow(modality, example)),
    );
  }
  const pairs = Array.from({ length: MIXED.train }, () => {
    const asked = draw.pick(["audio", "image", "both"] as const);
    return mixedRow(draw.pick(data.audio.train), draw.pick(data.image.train), asked, draw);
  });
  const rows = [
    { from: data.audio.train.map((example) => questionRow("audio", example)), weight: 1, modality: "audio" },
    { from: data.image.train.map((example) => questionRow("image", example)), weight: 1, modality: "image" },
    { from: pairs, weight: 1, modality: "image" },
  ];
  await told("instruct", instruct(model, { data: rows, ...scaled(STAGE2), ...common, output: `${output}/instruct` }));
  await model.save(`${output}/checkpoint`);

  const about = (sense: Sense) => {
    const questions = test[sense].map((example) => questionRow(sense, example));
    return askHeldOut(model, questions, { kinds: questions.map(() => sense), seed });
  };
  const mixed = { audio: 0, image: 0, both: 0 };
  for (const asked of ["audio", "image", "both"] as const)
    mixed[asked] = await exact(
      model,
      Array.from({ length: MIXED.test }, () => mixedRow(draw.pick(data.audio.test), draw.pick(data.image.test), asked, draw)),
    );
  return { aligned, instructed: { audio: await about("audio"), image: await about("image") }, mixed };
}

const lastText = ({ turns }: Row): string => String(turns.at(-1)?.content[0]);

/** The share of rows whose last turn the model writes to the letter. */
async function exact(model: AnyMAL, rows: readonly Row[]): Promise<number> {
  const prompts = rows.map(({ turns }) => turns.slice(0, -1));
  const answers = await model.generateAll(prompts, { maxNewTokens: 16, batch: 64 });
  return scoreExact(answers.map((answer, i) => ({ answer, correct: lastText(rows[i] as Row) }))).exact;
}

async function told(what: string, steps: AsyncIterable<{ step: number; steps: number; loss: number }>): Promise<void> {
  for await (const { step, steps: all, loss } of steps)
    if (step % 40 === 0) console.error(`${what} ${step}/${all}: loss ${loss.toFixed(3)}`);
}
