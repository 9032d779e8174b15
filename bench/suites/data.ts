// What stands before a training's steps: the first step over a million rows and what the rows take of memory, shards in the order of a training, and an epoch
// whose features are kept beside the one that made them.
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import sharp from "sharp";
import { Batches } from "../../lib/data/batches.js";
import { openRows } from "../../lib/data/open-rows.js";
import { blockOrder } from "../../lib/data/order.js";
import { AnyMAL, align, FeatureCache } from "../../lib/index.js";
import { now } from "../clock.js";
import { type Figures, figuresOf } from "../contest.js";
import { captionFile, pictures, shard } from "../data-files.js";
import { randomEncoder } from "../encoder-folder.js";
import type { FirstStep } from "../first-step.js";
import { atEachLevel, type Place } from "../levels.js";
import { digits, mebibytes, median, type SuiteOptions } from "../suite.js";

const TURNS = 3;
/** Rows of a step, as LLaVA's second stage has them. */
const BATCH = 16;
const TINY = fileURLToPath(new URL("../../models/tiny", import.meta.url));

export default function data(options: SuiteOptions): Promise<Figures[]> {
  const isTiny = options.size === "tiny";
  return atEachLevel(options, async (place, report) => {
    const folder = await mkdtemp(join(tmpdir(), "anymal-data-"));
    const cases = {
      ...Object.fromEntries(
        ["jsonl", "csv"].map((ending) => [`first step, ${ending}`, () => firstStep(place, options, folder, ending, isTiny ? 1e4 : 1e6)]),
      ),
      ...Object.fromEntries(
        ["tar", "parquet"].map((ending) => [`shard, ${ending}`, () => rate(place, options, folder, ending, isTiny ? 20 : 2000)]),
      ),
      "second epoch": () => epochs(place, options, folder, isTiny),
    };
    try {
      for (const [name, measure] of Object.entries(cases)) if (name.includes(options.filter)) report(await measure());
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

async function firstStep({ level }: Place, options: SuiteOptions, folder: string, ending: string, count: number) {
  const path = join(folder, `rows.${ending}`);
  await captionFile(path, count, await pictures(folder));
  const made: FirstStep[] = [];
  const file = fileURLToPath(new URL("../first-step.ts", import.meta.url));
  const { threads } = options;
  for (let turn = 0; turn < (options.turns ?? TURNS); ++turn) {
    const args = ["--import", "tsx", file, path, JSON.stringify({ level, ...(threads && { threads }) })];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    made.push(JSON.parse(stdout.trim().split("\n").at(-1) as string));
  }
  const told = {
    case: `first step, ${ending}, ${count} rows`,
    level,
    unit: "ms",
    of: (seconds: number) => 1000 * seconds,
    more: () => ({ "MiB of the loader at most": mebibytes(Math.max(...made.map(({ bytes }) => bytes))) }),
  };
  return figuresOf(told, made.map(({ seconds }) => seconds), []); // biome-ignore format: one line
}

/** All rows of one shard in the order of an epoch, a step's side by side. What is in the system's cache is read from there. */
async function rate({ level }: Place, options: SuiteOptions, folder: string, ending: string, count: number) {
  const [path, each] = [join(folder, `shard.${ending}`), 100_000];
  await shard(path, count, each);
  const samples: number[] = [];
  for (let turn = -1; turn < (options.turns ?? TURNS); ++turn) {
    const start = now();
    const rows = await openRows(path, {});
    const order = rows.blocks && blockOrder(rows.blocks, turn, rows.together);
    const batches = new Batches(rows.length, { batchSize: BATCH, seed: turn, order });
    let bytes = 0;
    while (batches.epoch === 0)
      for (const row of await Promise.all(batches.next().map((i) => rows.row(i))))
        for (const part of row.turns.flatMap(({ content }) => content))
          if (typeof part !== "string") bytes += (part.source as Uint8Array).byteLength;
    await rows.close();
    if (bytes !== count * each) throw new Error(`${bytes} bytes were read, not ${count * each}`);
    if (turn >= 0) samples.push(now() - start);
  }
  const told = {
    case: `shard, ${ending}, ${count} pictures of ${each} bytes`,
    level,
    unit: "MB/s",
    of: (seconds: number) => (count * each) / 1e6 / seconds,
  };
  return figuresOf(told, samples, []);
}

interface Epoch {
  seconds: number;
  /** By the wall, and in how much of it the device had nothing to do because rows were not read yet. */
  wall: number;
  waited: number;
}

/** A random ViT-S/16 that is large beside the language model, and as many steps over what it made and over what was kept. */
async function epochs({ device, level }: Place, options: SuiteOptions, folder: string, isTiny: boolean) {
  const shape = isTiny ? { width: 64, layers: 2, heads: 4, side: 32 } : { width: 384, layers: 12, heads: 6, side: 224 };
  const [encoder, count] = [join(folder, "encoder"), isTiny ? BATCH : 4 * BATCH];
  await randomEncoder(encoder, device, shape);
  await cp(join(TINY, "llama"), join(folder, "llm"), { recursive: true });
  const rows: string[] = [];
  for (let i = 0; i < count; ++i) {
    const background = { r: (37 * i) % 256, g: (91 * i) % 256, b: (11 * i) % 256 };
    await sharp({ create: { width: 640, height: 480, channels: 3, background } })
      .jpeg()
      .toFile(join(folder, `${i}.jpg`));
    rows.push(JSON.stringify({ image: `${i}.jpg`, caption: `number ${i}` }));
  }
  const path = join(folder, "epochs.jsonl");
  await writeFile(path, rows.join("\n"));
  const [made, kept, read]: [Epoch[], Epoch[], Epoch[]] = [[], [], []];
  for (let turn = 0; turn < (options.turns ?? TURNS); ++turn) {
    const cache = join(folder, `cache-${turn}`);
    const projector = { type: "resampler", layers: 1, tokens: 8 } as const;
    const run = async (steps: number) => {
      using model = await AnyMAL.assemble({
        llm: join(folder, "llm"),
        device,
        quantization: "none",
        modalities: { image: { encoder, projector } },
      });
      const perEpoch = count / BATCH;
      const epochs: Epoch[] = [];
      let [start, began, waited] = [now(), performance.now(), 0];
      for await (const { step, secondsWaited } of align(model, {
        modality: "image",
        data: path,
        batch: BATCH,
        microBatch: BATCH,
        steps,
        cache: new FeatureCache({ folder: cache }),
      })) {
        if (step > 1) waited += secondsWaited; // the first one has nothing to be read beside
        if (step % perEpoch) continue;
        epochs.push({ seconds: now() - start, wall: (performance.now() - began) / 1000, waited });
        [start, began, waited] = [now(), performance.now(), 0];
      }
      return epochs;
    };
    const [first, second] = (await run((2 * count) / BATCH)) as [Epoch, Epoch];
    made.push(first);
    kept.push(second);
    read.push(...(await run(count / BATCH)));
  }
  const secondsOf = (epochs: readonly Epoch[]) => epochs.map(({ seconds }) => seconds);
  const share = (epochs: readonly Epoch[]) => median(epochs.map(({ wall, waited }) => (100 * waited) / wall));
  const told = (name: string, epochs: readonly Epoch[]) => ({
    case: `${name} of ${count} pictures, ViT ${shape.width} wide at ${shape.side}`,
    level,
    unit: "items/s",
    of: (seconds: number) => count / seconds,
    more: (seconds: number) => ({ "s an epoch": digits(seconds, 3), "% the device waits for rows": digits(share(epochs), 2) }),
  });
  const rival = [[{ side: { name: "anymal, first epoch", version: "", sample: async () => 0 }, seconds: secondsOf(made) }]];
  return [
    ...figuresOf(told("first epoch", made), secondsOf(made), []),
    ...figuresOf(told("second epoch", kept), secondsOf(kept), rival),
    ...figuresOf(told("an epoch from the cache's folder", read), secondsOf(read), rival),
  ];
}
