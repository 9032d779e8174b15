// All commands; each loads what it needs when it runs, so that --help is quick.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { alignCommand } from "./align.js";
import { bootstrapCommand } from "./bootstrap.js";
import { chatCommand } from "./chat.js";
import { convertCommand } from "./convert.js";
import { curateCommand } from "./curate.js";
import { dataCommand } from "./data.js";
import { demoCommand } from "./demo.js";
import { doctorCommand } from "./doctor.js";
import { evalCommand } from "./eval.js";
import { exportCommand } from "./export.js";
import { generateCommand } from "./generate.js";
import { inspectCommand } from "./inspect.js";
import { instructCommand } from "./instruct.js";
import { judgeCommand } from "./judge.js";
import { command } from "./output.js";
import { planCommand } from "./plan.js";
import { quantizeCommand } from "./quantize.js";
import { replayCommand } from "./replay.js";
import { reportCommand } from "./report.js";
import { representCommand } from "./represent.js";
import { sweepCommand } from "./sweep.js";
import { synthesizeCommand } from "./synthesize.js";
import { systemsCommand } from "./systems.js";

const EXAMPLE = `
anymal demo
anymal generate --model runs/instruct "what color is <image>?" --image cat.jpg
anymal align --help`;

export function program(): Command {
  return command("anymal", "Trains a language model to take in pictures, videos, sounds and motion, and asks it about them.", EXAMPLE)
    .version(version())
    .addCommand(demoCommand())
    .addCommand(representCommand())
    .addCommand(alignCommand())
    .addCommand(instructCommand())
    .addCommand(dataCommand())
    .addCommand(bootstrapCommand())
    .addCommand(synthesizeCommand())
    .addCommand(curateCommand())
    .addCommand(planCommand())
    .addCommand(sweepCommand())
    .addCommand(reportCommand())
    .addCommand(replayCommand())
    .addCommand(evalCommand())
    .addCommand(judgeCommand())
    .addCommand(generateCommand())
    .addCommand(chatCommand())
    .addCommand(inspectCommand())
    .addCommand(convertCommand())
    .addCommand(quantizeCommand())
    .addCommand(exportCommand())
    .addCommand(systemsCommand())
    .addCommand(doctorCommand());
}

/** Of the package that this file lies in, as source or built. */
function version(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, "package.json");
    if (existsSync(file)) return JSON.parse(readFileSync(file, "utf8")).version;
  }
}
