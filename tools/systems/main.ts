// `npm run systems`: every system that this library has, trained in the tiny world on pictures and questions, and asked about what it was never shown.
//   npm run systems -- --only llava-1.5 --seeds 3 --json FILE
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeWorld } from "../../lib/data/world/write.js";
import { openDevice } from "../../lib/index.js";
import { type Outcome, runTrial } from "./run.js";
import { mediumOf, scaled, type Trial } from "./trial.js";
import { TRIALS } from "./trials.js";

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true, default: [] },
    seeds: { type: "string", default: "1" },
    from: { type: "string", default: "0" },
    json: { type: "string" },
    effort: { type: "string", default: "1" },
    device: { type: "string", default: process.env.ANYMAL_DEVICE ?? "cpu" },
    help: { type: "boolean", default: false },
  },
});
const NAMES = Object.keys(TRIALS);
const [seeds, from, effort] = [Number(values.seeds), Number(values.from), Number(values.effort)];
const unknown = values.only.find((name) => !NAMES.includes(name));
if (
  values.help ||
  unknown !== undefined ||
  !(Number.isInteger(seeds) && seeds >= 1) ||
  !(Number.isInteger(from) && from >= 0) ||
  !(effort > 0)
) {
  if (unknown !== undefined) console.error(`systems: expected one of ${NAMES.join(", ")}, got ${JSON.stringify(unknown)}`);
  console.log("npm run systems -- [--only NAME]… [--seeds N [--from SEED]] [--json FILE] [--effort 0.1, for a trial] [--device NAME]");
  process.exit(values.help ? 0 : 1);
}

const models = fileURLToPath(new URL("../../models/tiny", import.meta.url));
const place = mkdtempSync(join(tmpdir(), "anymal-systems-"));
const interrupt = new AbortController();
process.once("SIGINT", () => interrupt.abort());

const WIDE = Math.max(...NAMES.map((name) => name.length)) + 2;
const share = (value: number) => value.toFixed(3);
const mean = (list: readonly number[]) => list.reduce((sum, one) => sum + one, 0) / list.length;

/** Every figure is the mean over the seeds; bytes are the most of any. */
function over(list: readonly Outcome[]): Outcome {
  const of = (key: Exclude<keyof Outcome, "more">) => mean(list.map((one) => one[key]));
  const [exact, blank, shuffled, minutes] = [of("exact"), of("blank"), of("shuffled"), of("minutes")];
  const more = Object.keys(list[0]?.more ?? {}).map((key) => [key, mean(list.map((one) => one.more?.[key] ?? 0))]);
  const peakBytes = Math.max(...list.map((one) => one.peakBytes));
  const all = { exact, blank, shuffled, minutes, trainedParameters: of("trainedParameters"), peakBytes };
  return more.length ? { ...all, more: Object.fromEntries(more) } : all;
}
const told = ({ more = {} }: Outcome) => Object.entries(more).map(([name, value]) => `, ${name} ${share(value)}`).join(""); // biome-ignore format: one line

async function tried(name: string, trial: Trial): Promise<Outcome> {
  const device = await openDevice(values.device);
  const list: Outcome[] = [];
  for (let seed = from; seed < from + seeds; ++seed) {
    const medium = mediumOf(trial);
    const data = join(place, `${medium}-${seed}`);
    // Clips take several times a picture's memory and time.
    const train = { [medium]: scaled(medium === "video" ? 2000 : 6000, effort) };
    await writeWorld(data, { seed, train, heldout: { [medium]: scaled(256, effort) }, signal: interrupt.signal });
    let said = performance.now();
    const onStep = (stage: string, { step, steps, loss }: { step: number; steps: number; loss: number }) => {
      if (step < steps && performance.now() - said < 15_000) return;
      said = performance.now();
      console.log(`  ${name}, seed ${seed}, ${stage} ${step}/${steps}: loss ${loss.toFixed(3)}`);
    };
    const outcome = await runTrial(trial, { models, data, device, seed, effort, signal: interrupt.signal, onStep });
    list.push(outcome);
    const { exact, blank, shuffled, minutes } = outcome;
    console.log(
      `${name}, seed ${seed}: exact ${share(exact)}, blank ${share(blank)}, shuffled ${share(shuffled)}${told(outcome)}; ${minutes.toFixed(1)} minutes`,
    );
  }
  return over(list);
}

try {
  const systems: Record<string, Outcome & { seeds: number }> = {};
  for (const [name, trial] of Object.entries(TRIALS)) {
    if (values.only.length && !values.only.includes(name)) continue;
    systems[name] = { ...(await tried(name, trial)), seeds };
    if (values.json) writeFileSync(values.json, `${JSON.stringify({ systems }, null, 2)}\n`);
  }
  console.log(`\n${"system".padEnd(WIDE)}exact  blank  shuffled  minutes  trained     peak MiB   (${seeds} seed${seeds > 1 ? "s" : ""})`);
  for (const [name, { exact, blank, shuffled, minutes, trainedParameters, peakBytes }] of Object.entries(systems))
    console.log(
      `${name.padEnd(WIDE)}${share(exact)}  ${share(blank)}  ${share(shuffled)}     ${minutes.toFixed(1).padEnd(9)}${String(trainedParameters).padEnd(12)}${(peakBytes / 2 ** 20).toFixed(0)}`,
    );
  for (const [name, outcome] of Object.entries(systems)) if (outcome.more) console.log(`${name} alone${told(outcome)}`);
  console.log("\nNot as published:");
  for (const name of Object.keys(systems)) console.log(`${name.padEnd(WIDE)}${TRIALS[name]?.changed.join("; ")}`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
