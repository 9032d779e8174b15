// An epoch of stage 2 with each switch that saves memory or time, alone and together, in turns with one that has none of them; and what `anymal plan` says of
// the same recipe. What docs/efficient-training.md tells.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { type Device, openDevice } from "../../lib/core/device.js";
import { AnyMAL, FeatureCache, type InstructOptions, instruct, type Quantization } from "../../lib/index.js";
import { type Machine, memoryHere } from "../../lib/plan/machines.js";
import { plan } from "../../lib/plan/plan.js";
import type { PlannedStage } from "../../lib/plan/report.js";
import { randomCheckpoint } from "../../tools/random-checkpoint/make.js";
import { now } from "../clock.js";
import { type Figures, figuresOf } from "../contest.js";
import { type EncoderShape, randomEncoder } from "../encoder-folder.js";
import { atEachLevel, type Place } from "../levels.js";
import { commit } from "../record.js";
import { highestPeak, mebibytes, type SuiteOptions } from "../suite.js";

const TURNS = 3;
/** Rows of an epoch, and of a step where nothing else is said. */
const [ROWS, BATCH] = [16, 8];
/** Words of the answers, in turns: each batch has a long one, and is padded to it. */
const WORDS = [12, 20, 28, 36, 44, 60, 76, 92];
const LATENTS = 16;
/** Bytes that nothing comes near: devices are shared by who opens them alike, and one byte more makes a device another's. */
const UNLIMITED = 2 ** 50;
const TOKENIZER = fileURLToPath(new URL("../../models/tiny/llama", import.meta.url));

interface Sizes {
  llm: { hidden: number; intermediate: number; layers: number; heads: number; kvHeads: number; vocabulary: number };
  encoder: EncoderShape;
}
const SIZES: Sizes = {
  llm: { hidden: 384, intermediate: 1024, layers: 6, heads: 6, kvHeads: 6, vocabulary: 8192 },
  encoder: { width: 192, layers: 6, heads: 3, side: 224 },
};
const TINY: Sizes = {
  llm: { hidden: 64, intermediate: 128, layers: 2, heads: 4, kvHeads: 4, vocabulary: 1024 },
  encoder: { width: 64, layers: 2, heads: 4, side: 32 },
};

interface Switches {
  dtype?: "f32" | "bf16";
  quantization?: "none" | Quantization;
  batch?: number;
  microBatch?: number;
  gradientCheckpointing?: boolean;
  optimizer?: "adamw8bit";
  packing?: boolean;
  groupByLength?: boolean;
  /** Features of the frozen encoder are kept from the first epoch on, which is not timed. */
  kept?: boolean;
}
const NESTED: Quantization = { format: "nf4", doubleQuant: true };
const PLAIN = "plain";

/** In the order of the table. */
const SWITCHES: Readonly<Record<string, Switches>> = {
  [PLAIN]: {},
  "language model in bf16": { dtype: "bf16" },
  "language model in NF4": { quantization: { format: "nf4" } },
  "language model in NF4, double quantisation": { quantization: NESTED },
  "language model in INT8": { quantization: { format: "int8" } },
  "accumulation: micro-batches of 2": { microBatch: 2 },
  "recompute: gradientCheckpointing": { gradientCheckpointing: true },
  "8-bit optimiser": { optimizer: "adamw8bit" },
  packing: { packing: true },
  "grouping by length": { groupByLength: true },
  "batch of 16": { batch: 2 * BATCH, microBatch: 2 * BATCH },
  "features kept, as from a second epoch on": { kept: true },
  "together, for time: bf16, packing, features kept": { dtype: "bf16", packing: true, kept: true },
  "together, for memory: bf16, NF4 with double quantisation, micro-batches of 2, recompute, 8-bit optimiser, packing": {
    ...{ dtype: "bf16", quantization: NESTED, microBatch: 2, gradientCheckpointing: true, optimizer: "adamw8bit", packing: true },
  },
  "together, QLoRA's: bf16, NF4 with double quantisation, 8-bit optimiser, packing, features kept": {
    ...{ dtype: "bf16", quantization: NESTED, optimizer: "adamw8bit", packing: true, kept: true },
  },
};

export default function efficient(options: SuiteOptions): Promise<Figures[]> {
  const sizes = options.size === "tiny" ? TINY : SIZES;
  return atEachLevel(options, async (place, report) => {
    const folder = await mkdtemp(join(tmpdir(), "anymal-efficient-"));
    const runs: Run[] = [];
    try {
      const data = await files(folder, place.device, sizes);
      const machine = await machineOf(place);
      const chosen = Object.entries(SWITCHES).filter(([name]) => name === PLAIN || name.includes(options.filter));
      for (const [name, switches] of chosen) runs.push(await Run.open(name, switches, { folder, data, place, threads: options.threads }));
      const told: PlannedStage[] = [];
      for (const run of runs) told.push(await run.planned(machine));
      const seconds = runs.map((): number[] => []);
      const figures = () =>
        runs.flatMap((run, i) => {
          const side = { name: "anymal, plain", version: commit(), sample: () => run.sample() };
          const plain = { side, seconds: seconds[0] as number[] };
          return figuresOf(run.told(told[i] as PlannedStage), seconds[i] as number[], i ? [[plain]] : []);
        });
      // What is there after each turn is kept: on a busy machine the last one may not come.
      for (let turn = -1; turn < (options.turns ?? TURNS); ++turn) {
        for (const [i, run] of runs.entries()) {
          const taken = await run.sample();
          if (turn >= 0) seconds[i]?.push(taken);
        }
        if (turn >= 0) options.row?.(figures());
      }
      report(figures());
    } finally {
      for (const run of runs) await run.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

/** What it gives by the wall, whatever clock the samples have. */
async function machineOf({ device, peaks }: Place): Promise<Machine> {
  const peak = async (of: "f32" | "bf16" | "bandwidth") => peaks[of] || highestPeak(device, of);
  const [f32, bf16, bandwidth] = [await peak("f32"), await peak("bf16"), await peak("bandwidth")];
  return { name: "this machine", kind: "cpu", memory: memoryHere(), f32, bf16: Math.max(f32, bf16), bandwidth, launch: 2e-6 };
}

interface Where {
  folder: string;
  data: string;
  place: Place;
  threads: number | undefined;
}

/** A model of its own on a device of its own, so that its peak is its own. */
class Run {
  readonly #kept = new FeatureCache({ memoryBytes: 1 << 30 });
  #tokens = 0;

  private constructor(
    readonly name: string,
    private readonly switches: Switches,
    private readonly where: Where,
    private readonly device: Device,
    private readonly model: AnyMAL,
  ) {}

  static async open(name: string, switches: Switches, where: Where): Promise<Run> {
    const memoryLimit = UNLIMITED + Object.keys(SWITCHES).indexOf(name);
    const device = await openDevice("cpu", { level: where.place.level, memoryLimit, ...(where.threads && { threads: where.threads }) });
    const model = await AnyMAL.assemble({ ...modelOf(switches, where), device });
    await device.synchronize();
    device.resetPeak();
    return new Run(name, switches, where, device, model);
  }

  /** Seconds of one epoch. */
  async sample(): Promise<number> {
    const cache = this.switches.kept ? this.#kept : new FeatureCache({ memoryBytes: 0 });
    const start = now();
    this.#tokens = 0;
    for await (const { tokens } of instruct(this.model, { ...this.#recipe, data: this.where.data, cache })) this.#tokens += tokens;
    await this.device.synchronize();
    return now() - start;
  }

  async planned(machine: Machine): Promise<PlannedStage> {
    const { data, place, threads } = this.where;
    const recipe = { model: modelOf(this.switches, this.where), instruct: { ...this.#recipe, data } };
    const { stages } = await plan(recipe, { machine, level: place.level, ...(threads && { threads }) });
    return stages[0] as PlannedStage;
  }

  told({ bytes, time }: PlannedStage) {
    const peak = this.device.memory().bytesPeak;
    return {
      case: this.name,
      level: this.where.place.level,
      unit: "tokens/s",
      of: (seconds: number) => this.#tokens / seconds,
      more: (seconds: number) => ({
        "s an epoch": seconds,
        "peak MiB": mebibytes(peak),
        "planned MiB": mebibytes(bytes.peak),
        "planned tokens/s": time.tokensPerSecond,
      }),
    };
  }

  async close(): Promise<void> {
    this.model.dispose();
    await this.device.close();
  }

  get #recipe(): Omit<InstructOptions, "data"> {
    const { dtype: _, quantization: __, kept: ___, ...switches } = this.switches;
    const batch = switches.batch ?? BATCH;
    return { ...switches, batch, microBatch: switches.microBatch ?? batch, steps: ROWS / batch, learningRate: 1e-4 };
  }
}

function modelOf({ dtype = "f32", quantization = "none" }: Switches, { folder }: Where) {
  const projector = { type: "resampler", layers: 2, tokens: LATENTS } as const;
  return {
    llm: join(folder, "llm"),
    dtype,
    quantization,
    modalities: { image: { encoder: join(folder, "encoder"), projector } },
  };
}

/** The models, and an epoch of pictures with a question and an answer each. */
async function files(folder: string, device: Device, { llm, encoder }: Sizes): Promise<string> {
  await randomCheckpoint(join(folder, "llm"), { ...llm, tokenizer: TOKENIZER });
  await randomEncoder(join(folder, "encoder"), device, encoder);
  const rows: object[] = [];
  for (let i = 0; i < ROWS; ++i) {
    const background = { r: (37 * i) % 256, g: (91 * i) % 256, b: (11 * i) % 256 };
    await sharp({ create: { width: 320, height: 240, channels: 3, background } })
      .jpeg()
      .toFile(join(folder, `${i}.jpg`));
    const answer = new Array(WORDS[i % WORDS.length]).fill("red").join(" ");
    rows.push({
      image: `${i}.jpg`,
      conversations: [
        { from: "human", value: "<image>\nwhat color is it?" },
        { from: "gpt", value: answer },
      ],
    });
  }
  const path = join(folder, "rows.json");
  await writeFile(path, JSON.stringify(rows));
  return path;
}
