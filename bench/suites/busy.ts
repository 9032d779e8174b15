// One core busy elsewhere: a step of training, a decode step and a product alone and beside a process that never rests, in turns. The rival is the same work on
// the busy machine, so that a ratio of 2 means twice as slow there.

import { spawn } from "node:child_process";
import { generateTokens } from "../../lib/generate/generate.js";
import { now } from "../clock.js";
import { contest, type Figures, type Side, sampler } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { Product, WeightSet } from "../products.js";
import { promptOf, randomConfig, randomLlama } from "../random-llama.js";
import { commit } from "../record.js";
import { median, type SuiteOptions } from "../suite.js";
import { Stage } from "../training.js";

const [PROMPT, STEPS, ROWS] = [32, 16, 192];
const BATCH = { rows: 1, media: 64, instruction: 32, response: 96 };
const TURNS = 5;

export default function busy(options: SuiteOptions): Promise<Figures[]> {
  return atEachLevel(options, async (place, report) => {
    using neighbour = new Neighbour();
    const works: Record<string, (run: (what: string, sample: () => Promise<number>) => Promise<void>) => Promise<void>> = {
      product: (run) => product(place, options, run),
      decode: (run) => decode(place, options, run),
      training: (run) => training(place, options, run),
    };
    const run = async (what: string, sample: () => Promise<number>) => {
      const beside: Side = { name: "anymal, a core busy elsewhere", version: commit(), sample: () => neighbour.during(sample) };
      const told = { case: what, level: place.level, unit: "ms", of: (seconds: number) => 1000 * seconds };
      report(await contest(told, sample, [[beside]], options.turns ?? TURNS));
    };
    for (const [name, work] of Object.entries(works)) if (name.includes(options.filter)) await work(run);
  });
}

type Run = (what: string, sample: () => Promise<number>) => Promise<void>;

async function product({ device }: Place, { size }: SuiteOptions, run: Run): Promise<void> {
  const { hiddenSize: I, intermediateSize: O } = randomConfig(size);
  using weights = new WeightSet(device, "nf4", { I, O });
  using rows = new Product(weights, ROWS, "forward");
  await run(`product, nf4, ${I} to ${O}, ${ROWS} rows`, await sampler(device, () => rows.enqueue(), 0.1));
}

async function decode({ device }: Place, { size }: SuiteOptions, run: Run): Promise<void> {
  const llm = randomLlama(device, randomConfig(size), "nf4", "bf16");
  await run("decode, nf4, 1 row, a step", async () => {
    const times: number[] = [];
    let last = now();
    const prompt = { inputIds: [promptOf(PROMPT, llm.config.vocabSize)] };
    for await (const _ of generateTokens(llm, prompt, { maxNewTokens: STEPS + 1, eosTokenId: [] })) {
      times.push(now() - last);
      last = now();
    }
    return median(times.slice(1));
  });
  llm.dispose();
}

async function training({ device }: Place, { size }: SuiteOptions, run: Run): Promise<void> {
  const stage = new Stage(1, device, randomConfig(size), "bf16", BATCH);
  await run(`training, stage 1, nf4, bf16, 1 x ${stage.tokens} tokens`, () => stage.sample());
  await stage.end();
}

/** It ends by itself where nobody is left to end it. */
const RESTLESS = "const of = process.ppid; for (let i = 0; i % 1e8 || process.ppid === of; ++i);";

/** A process of one thread that keeps a core busy while it is asked to. */
class Neighbour {
  readonly #child = spawn(process.execPath, ["-e", RESTLESS], { stdio: "ignore" });
  constructor() {
    this.#child.kill("SIGSTOP");
  }
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#child.kill("SIGCONT");
    try {
      return await work();
    } finally {
      this.#child.kill("SIGSTOP");
    }
  }
  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}
