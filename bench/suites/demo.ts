// `npm run demo`, once for each seed: minutes from the first file to the last answer, and the exact answers of the modality that has fewest.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { DemoResult } from "../../lib/cli/demo-run.js";
import { type Figures, figuresOf } from "../contest.js";
import { nameOf, threadsOf } from "../levels.js";
import { mebibytes, type SuiteOptions } from "../suite.js";

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));

export default async function demo(options: SuiteOptions): Promise<Figures[]> {
  const rows: Figures[] = [];
  for (const level of options.levels) {
    const results: DemoResult[] = [];
    for (const seed of options.seeds) results.push(await once(options, level, seed));
    rows.push(...rowsOf(results, options));
    options.row?.(rows);
  }
  return rows;
}

async function once(
  { device, threads, effort, say = console.log }: SuiteOptions,
  level: string | undefined,
  seed: number,
): Promise<DemoResult> {
  const folder = await mkdtemp(join(tmpdir(), "anymal-demo-"));
  const file = join(folder, "demo.json");
  const flags = ["--output", join(folder, "run"), "--json", file, "--device", device, "--seed", `${seed}`, "--effort", `${effort}`];
  const env = { ...process.env, ...(level && { ANYMAL_CPU_LEVEL: level }), ...(threads && { ANYMAL_THREADS: `${threads}` }) };
  try {
    await promisify(execFile)(process.execPath, ["--import", "tsx", MAIN, "demo", ...flags], { env, maxBuffer: 2 ** 26 });
    const result = JSON.parse(await readFile(file, "utf8")) as DemoResult;
    const scores = Object.entries(result.modalities).map(([name, { exact }]) => `${name} ${(100 * exact).toFixed(1)} %`);
    say(`seed ${seed}: ${result.device}, ${(result.seconds / 60).toFixed(2)} min; ${scores.join(", ")}`);
    return result;
  } finally {
    await rm(folder, { recursive: true });
  }
}

function rowsOf(results: readonly DemoResult[], { seeds, effort, device }: SuiteOptions): Figures[] {
  const first = results[0] as DemoResult;
  const modalities = Object.keys(first.modalities);
  const worst = modalities.map((name) => [
    `${name}, % exact at least`,
    100 * Math.min(...results.map((result) => result.modalities[name]?.exact ?? 0)),
  ]);
  return figuresOf(
    {
      case: `${seeds.length} ${seeds.length > 1 ? "seeds" : "seed"}${effort === 1 ? "" : `, effort ${effort}`}`,
      level: device === "cpu" ? nameOf(first.device) : device,
      unit: "min",
      of: (seconds) => seconds / 60,
      more: () => ({
        ...Object.fromEntries(worst),
        threads: threadsOf(first.device),
        "peak MiB": mebibytes(Math.max(...results.map(({ peakBytes }) => peakBytes))),
      }),
    },
    results.map(({ seconds }) => seconds),
    [],
  );
}
