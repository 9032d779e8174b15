// Trainings that are killed at moments drawn at random and gone on with: each must end as one that nobody killed, to the bit, in all that its folder says.
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Draw } from "../../lib/data/draw.js";

export const STAGES = ["represent", "align", "instruct"] as const;
export type KilledStage = (typeof STAGES)[number];

export interface KillOptions {
  root: string;
  /** Of writeWorld, with pictures and sounds. */
  world: string;
  /** Kills of each stage. */
  count: number;
  seed: number;
  /** Processes that compute beside, so that moments fall elsewhere than on a quiet machine. */
  load: number;
}
export interface KillOutcome {
  ended: number;
  wrong: string[];
  /** Of each kill: the last step that was told before it, and the one that the run went on from. */
  moments: { told: number; from: number }[];
}

const LIMIT_MS = 10 * 60_000;
const BUSY = "for (;;);";

/** What the stages read, from the files of the world: captions in two files of two kinds, one row of which is bad, and questions. */
export function killedData(world: string, folder: string): string {
  mkdirSync(folder, { recursive: true });
  for (const modality of ["image", "audio"]) cpSync(join(world, modality), join(folder, modality), { recursive: true });
  const rows = (name: string) =>
    readFileSync(join(world, name), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { image: string; caption: string });
  const placed = rows("image/captions.train.jsonl").map((row) => ({ ...row, image: `image/${row.image}` }));
  const half = Math.ceil(placed.length / 2);
  const bad = { image: "image/none.png", caption: "nothing" };
  writeFileSync(join(folder, "captions-a.jsonl"), [...placed.slice(0, half), bad].map((row) => JSON.stringify(row)).join("\n"));
  const cells = placed.slice(half).map(({ image, caption }) => `${image},"${caption.replaceAll('"', '""')}"`);
  writeFileSync(join(folder, "captions-b.csv"), ["image,caption", ...cells].join("\n"));
  const held = rows("image/captions.heldout.jsonl").map((row) => JSON.stringify({ ...row, image: `image/${row.image}` }));
  writeFileSync(join(folder, "captions-held.jsonl"), held.join("\n"));
  for (const [from, to, modality] of [
    ["image/instruct.train.json", "image.json", "image"],
    ["audio/instruct.train.json", "audio.json", "audio"],
    ["image/instruct.heldout.json", "held.json", "image"],
  ] as const) {
    const all = JSON.parse(readFileSync(join(world, from), "utf8")) as Record<string, string>[];
    writeFileSync(join(folder, to), JSON.stringify(all.map((row) => ({ ...row, [modality]: `${modality}/${row[modality]}` }))));
  }
  return folder;
}

export async function killOften(stage: KilledStage, { root, world, count, seed, load }: KillOptions): Promise<KillOutcome> {
  const data = killedData(world, join(world, `killed-${stage}`));
  const draw = new Draw(seed, `kills of ${stage}`);
  const outcome: KillOutcome = { ended: 0, wrong: [], moments: [] };
  const beside = Array.from({ length: Math.min(load, 2 * availableParallelism()) }, () => spawn(process.execPath, ["-e", BUSY]));
  try {
    const train = (output: string, kill?: Moment) => live([root, data, stage, output], kill);
    const whole = join(data, "whole");
    const unbroken = await train(whole);
    if (unbroken.code !== 0) return { ...outcome, wrong: [`unbroken: ${unbroken.text.slice(-600)}`] };
    const wanted = contentOf(whole);
    for (let i = 0; i < count; ++i) {
      const output = join(data, `run-${i}`);
      const moment = { step: draw.below(unbroken.steps), ms: (draw.uniform() * unbroken.ms) / unbroken.steps };
      const first = await train(output, moment);
      const from = existsSync(join(output, "checkpoint")) ? savedStep(output) : 0;
      const again = await train(output);
      const differing = again.code === 0 ? different(wanted, contentOf(output)) : [again.text.slice(-600)];
      outcome.moments.push({ told: first.steps, from });
      if (differing.length)
        outcome.wrong.push(`kill ${i} after step ${first.steps}, gone on from ${from}: ${differing.slice(0, 5).join(", ")}`);
      else ++outcome.ended;
      rmSync(output, { recursive: true, force: true });
    }
  } finally {
    for (const one of beside) one.kill("SIGKILL");
  }
  return outcome;
}

const savedStep = (output: string): number => JSON.parse(readFileSync(join(output, "checkpoint/trainer_state.json"), "utf8")).step;

/** Milliseconds behind a step that was told, 0: behind the beginning. Of shares of a whole run, which saves and looks make uneven, most fell into its ends. */
interface Moment {
  step: number;
  ms: number;
}

/** Milliseconds and steps are counted from where its training begins. */
function live(args: string[], kill?: Moment): Promise<{ code: number | null; text: string; ms: number; steps: number }> {
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(new URL("./killed.mjs", import.meta.url)), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  let [text, begun, due] = ["", 0, false];
  const hear = (chunk: Buffer) => {
    text += chunk;
    if (!begun && text.includes("begun\n")) begun = performance.now();
    if (!kill || due || !text.includes(kill.step ? `step ${kill.step}\n` : "begun\n")) return;
    due = true;
    setTimeout(() => child.kill("SIGKILL"), kill.ms).unref();
  };
  child.stdout?.on("data", hear);
  child.stderr?.on("data", hear);
  return new Promise((resolve) => {
    child.on("close", (code) => {
      const steps = Number([...text.matchAll(/^step (\d+)$/gm)].at(-1)?.[1] ?? 0);
      resolve({ code, text, ms: performance.now() - begun, steps });
    });
  });
}

/** What changes with the clock. */
const CLOCK =
  /^(tokens_per_second|elapsed_time|remaining_time|bytes_in_use|bytes_peak|data_wait|feature_hit_rate|seconds|secondsElapsed|throughput)$/;
/** Which sitting made it, and pages made of the rest. */
const ASIDE = ["origin.json", "report.html", ".run.lock"];

/** Of each file of a run a hash, of lines of numbers without those of the clock. */
function contentOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const content = new Map<string, string>();
  for (const { parentPath, name } of files) {
    const path = join(parentPath, name);
    if (ASIDE.includes(basename(path))) continue;
    const bytes = readFileSync(path);
    const timeless = /\.jsonl$|_state\.json$/.test(name) ? withoutClock(bytes.toString()) : bytes;
    content.set(path.slice(folder.length + 1), createHash("sha256").update(timeless).digest("hex"));
  }
  return content;
}

function withoutClock(text: string): string {
  const values = text.trimStart().startsWith("{\n") ? [text] : text.trim().split("\n");
  return values.map((line) => JSON.stringify(JSON.parse(line), (key, value) => (CLOCK.test(key) ? undefined : value))).join("\n");
}

const different = (wanted: ReadonlyMap<string, string>, got: ReadonlyMap<string, string>): string[] =>
  [...new Set([...wanted.keys(), ...got.keys()])].filter((name) => wanted.get(name) !== got.get(name));
