// How late a timer of one millisecond is while a model is loaded, trained and asked: what a server in the same process would be late by. First times
// count, so nothing is warmed up. After each stretch the process is idle for as long: what the machine itself is late by, to be taken off.
import { createHistogram, type RecordableHistogram } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { AnyMAL, align, type Device, device, image, instruct, type PromptInput } from "../../lib/index.js";
import { type LagWorld, lagWorld } from "../lag-world.js";
import { digits, printHeader, printRow, type Row, type TableOptions } from "../suite.js";

const ROUNDS = 3;
const STEPS = 8;
const [PROMPTS, TOKENS] = [8, 16];

/** Milliseconds by which a timer comes too late. */
class Lag {
  readonly #late: RecordableHistogram = createHistogram();

  async during<T>(work: () => Promise<T>): Promise<T> {
    let running = true;
    const watching = (async () => {
      for (let last = performance.now(); running; ) {
        await sleep(1);
        const now = performance.now();
        this.#late.record(Math.max(1, Math.round(1000 * (now - last - 1))));
        last = now;
      }
    })();
    try {
      return await work();
    } finally {
      running = false;
      await watching; // a stall at the very end is one too
    }
  }
  percentile(share: number): number {
    return this.#late.percentile(share) / 1000;
  }
  get longest(): number {
    return this.#late.max / 1000;
  }
  get count(): number {
    return this.#late.count;
  }
}

const WIDTHS = {
  what: 9,
  seconds: 8,
  samples: 8,
  p50: 6,
  p99: 7,
  "p99.9": 7,
  longest: 8,
  "idle p99.9": 10,
  "idle longest": 12,
  "p99.9 over": 10,
  "longest over": 12,
};

export default async function loopLag({ level, threads, size, folder, filter }: TableOptions): Promise<Row[]> {
  await using d = device("cpu", { ...(level && { level }), ...(threads && { threads }) });
  const world = await lagWorld(size, folder);
  try {
    const stretches = stretchesOf(d, world);
    const lags = new Map(Object.keys(stretches).map((what) => [what, { busy: new Lag(), idle: new Lag(), ms: 0 }]));
    for (let round = 0; round < ROUNDS; ++round) {
      for (const [what, { prepare, run }] of Object.entries(stretches)) {
        if (!what.includes(filter)) continue;
        const lag = lags.get(what) as { busy: Lag; idle: Lag; ms: number };
        const ready = await prepare();
        const start = performance.now();
        await lag.busy.during(() => run(ready));
        const took = performance.now() - start;
        lag.ms += took;
        await ready?.[Symbol.asyncDispose]();
        await lag.idle.during(() => sleep(took));
      }
    }
    console.log(`${d.describe()}; ${folder ?? size}; milliseconds, ${ROUNDS} rounds`);
    printHeader(WIDTHS);
    return Array.from(lags).flatMap(([what, { busy, idle, ms }]) => {
      if (!busy.count) return [];
      const row = rowOf(what, ms, busy, idle);
      printRow(row, WIDTHS);
      return [row];
    });
  } finally {
    world.remove();
  }
}

function rowOf(what: string, ms: number, busy: Lag, idle: Lag): Row {
  return {
    what,
    seconds: digits(ms / 1000, 1),
    samples: busy.count,
    p50: digits(busy.percentile(50), 2),
    p99: digits(busy.percentile(99), 1),
    "p99.9": digits(busy.percentile(99.9), 1),
    longest: digits(busy.longest, 1),
    "idle p99.9": digits(idle.percentile(99.9), 1),
    "idle longest": digits(idle.longest, 1),
    "p99.9 over": digits(busy.percentile(99.9) - idle.percentile(99.9), 1),
    "longest over": digits(busy.longest - idle.longest, 1),
  };
}

interface Stretch {
  prepare(): Promise<AnyMAL | undefined>;
  run(model: AnyMAL | undefined): Promise<void>;
}

function stretchesOf(d: Device, world: LagWorld): Record<"loading" | "training" | "answering", Stretch> {
  const assemble = () =>
    AnyMAL.assemble({
      llm: world.llm,
      device: d,
      dtype: "bf16",
      quantization: { format: "nf4", doubleQuant: true },
      modalities: { image: { encoder: world.encoder, projector: { type: "resampler", layers: 2, tokens: 16 } } },
    });
  let runs = 0;
  return {
    loading: {
      prepare: async () => undefined,
      run: async () => {
        const checkpoint = world.path(`model-${++runs}`);
        {
          await using model = await assemble();
          await model.save(checkpoint);
        }
        await using again = await AnyMAL.fromPretrained(checkpoint, { device: d });
        await again.device.synchronize();
      },
    },
    training: {
      prepare: assemble,
      run: async (model) => {
        const common = { steps: STEPS, saveEvery: STEPS / 2, batch: 4, microBatch: 2 };
        const output = () => world.path(`run-${++runs}`);
        for await (const _ of align(model as AnyMAL, { ...common, modality: "image", data: world.captions, output: output() }));
        const lora = { r: 16, alpha: 32 };
        for await (const _ of instruct(model as AnyMAL, { ...common, lora, data: world.conversations, output: output() }));
      },
    },
    answering: {
      prepare: assemble,
      run: async (model) => {
        const prompts = world.pictures.slice(0, PROMPTS).map((file): PromptInput => [image(file), "what is left of the circle?"]);
        const all = model as AnyMAL;
        await all.generateAll(prompts, { maxNewTokens: TOKENS });
        await all.generateAll(prompts, { maxNewTokens: TOKENS, temperature: 0.8, topK: 200, topP: 0.9, repetitionPenalty: 1.1 });
        for await (const _ of all.generate(prompts[0] as PromptInput, { maxNewTokens: TOKENS, temperature: 1, topP: 0.9 }));
      },
    },
  };
}
