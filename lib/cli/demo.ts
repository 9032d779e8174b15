// `anymal demo`: the main job in one command, on files and models that come with the package.
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { type Command, Option } from "commander";
import { openDevice } from "../core/device.js";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { duration, Progress } from "../train/progress.js";
import type { DemoResult } from "./demo-run.js";
import { command, Interrupt, integer, number, print, tell } from "./output.js";

interface Flags {
  output: string;
  models?: string;
  device: string;
  dtype?: "f32" | "bf16";
  seed: number;
  effort: number;
  json?: string;
}

export function demoCommand(): Command {
  return command(
    "demo",
    "Trains a small AnyMAL on pictures, clips, sounds and motion, and asks it about combinations it has never met.",
    "anymal demo --output runs/demo --json demo.json",
  )
    .option("--output <folder>", "where files, captions and the trained checkpoint go", "runs/demo")
    .option("--models <folder>", "the tiny llama, clip, clap and imu2clip (default: those of this package)")
    .option("--device <name>", "cpu, cuda or auto", "cpu")
    .addOption(
      new Option("--dtype <type>", "of activations (default: bf16 where the CPU multiplies it, else f32)").choices(["f32", "bf16"]),
    )
    .option("--seed <number>", "of the world, the projections and the order of rows", integer(), 0)
    .option("--effort <factor>", "times the training steps, for a quick look or a longer run", number(0), 1)
    .option("--json <file>", "writes device, seconds, memory and scores there")
    .action(demo);
}

async function demo({ json, ...flags }: Flags): Promise<void> {
  using interrupt = new Interrupt("stopping; what is trained so far is not kept");
  const { runDemo } = await import("./demo-run.js");
  let progress: Progress | undefined;
  const result = await runDemo({
    models: flags.models ?? packagedModels(),
    output: resolve(flags.output),
    device: await openDevice(flags.device),
    dtype: flags.dtype,
    seed: flags.seed,
    effort: flags.effort,
    signal: interrupt.signal,
    onStage: (title) => {
      progress?.end();
      progress = undefined;
      tell(`\n${title}`);
    },
    onFiles: (done, total) => {
      if (done === total) tell(`  ${total} files`);
    },
    onStep: (label, step) => {
      progress ??= new Progress({ label: `  ${label}` });
      progress.update(step);
    },
  });
  print(report(result));
  if (!json) return;
  await onFile("to be written", json, async () => {
    await mkdir(dirname(resolve(json)), { recursive: true });
    await writeFile(json, `${JSON.stringify(result, null, 2)}\n`);
  });
}

/** models/tiny of the package that this file is in: beside lib/ in the repository, beside dist/ when installed. */
function packagedModels(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  const found = ["../models/tiny", "../../models/tiny"].map((path) => resolve(here, path)).find(existsSync);
  if (!found)
    throw expected("E_FILE", "demo", "models/tiny in the package", "no such folder", "pass --models, or make them: npm run demo:pretrain");
  return found;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`.padStart(9);

function report({ device, dtype, seconds, peakBytes, modalities, answers, checkpoint }: DemoResult): string {
  const table = Object.entries(modalities).map(
    ([name, { exact, blank, shuffled, ciderD }]) =>
      `${name.padEnd(8)}${percent(exact)}${percent(blank)}${percent(shuffled)}${ciderD.toFixed(2).padStart(10)}`,
  );
  const asked = answers.map(({ prompt, media, answer, expected: wanted }) => {
    const paths = media.map((path) => relative(process.cwd(), path)).join(" + ");
    return `  ${paths}\n    ${prompt}\n    ${answer}${answer === wanted ? "" : `   (expected: ${wanted})`}`;
  });
  const folder = relative(process.cwd(), checkpoint) || checkpoint;
  return `
Exact answers to questions about held-out combinations, by generation; beside them the same questions with the media
taken away (blank) or exchanged (shuffled); CIDEr-D of captions, 10 at most.

            exact    blank shuffled   CIDEr-D
${table.join("\n")}

${asked.join("\n")}

${device}, ${dtype}; ${duration(seconds)}, ${(peakBytes / 2 ** 30).toFixed(2)} GiB at most.
The trained model is in ${folder}. Ask it yourself:
  anymal generate --model ${folder} "what color is the star?" --image ${join(relative(process.cwd(), join(checkpoint, "../data/image/heldout")), "00000.png")}`;
}
