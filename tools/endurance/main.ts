// `npm run endurance`: what only many repetitions show, on the built package as users load it.
//   npm run endurance -- endings --count 1000 [--only worker,exit,throw,abort] [--seed 1]   lives that end at random moments in mid-work
//   npm run endurance -- kills --count 20 [--only represent,align,instruct] [--load 2]   trainings that are killed at random moments and gone on with
//   npm run endurance -- endings kills --count 20 --kills 1   both, of one build
//   npm run endurance -- long [--answers 3000] [--steps 2000] [--loads 500] [--device cpu]   a table of what is held at 0, 25, 50 and 100 %
// Closes with `N passed, N failed`.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { build } from "tsdown";
import { writeWorld } from "../../lib/data/world/write.js";
import { ENDINGS, type Ending, endOften } from "./endings.js";
import { type KilledStage, killOften, STAGES } from "./kills.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "20" },
    only: { type: "string" },
    load: { type: "string", default: "0" },
    kills: { type: "string" },
    seed: { type: "string", default: "1" },
    answers: { type: "string", default: "3000" },
    steps: { type: "string", default: "2000" },
    loads: { type: "string", default: "500" },
    device: { type: "string", default: "cpu" },
  },
});
const courses = { endings, kills, long };
type Course = keyof typeof courses;

const world = mkdtempSync(join(tmpdir(), "anymal-endurance-"));
try {
  await build({ cwd: root, logLevel: "error" });
  await writeWorld(world, { seed: 5, train: { image: 24, audio: 4 }, heldout: { image: 4, video: 2, audio: 4, imu: 4 } });
  for (const what of (positionals.length ? positionals : ["endings"]) as Course[])
    process.exitCode = (await courses[what]()) || process.exitCode;
} finally {
  rmSync(world, { recursive: true, force: true });
}

/** All, or those of --only. */
function chosenOf<T extends string>(all: readonly T[]): T[] {
  const only = values.only?.split(",");
  return all.filter((name) => only?.includes(name) ?? true);
}

async function endings(): Promise<number> {
  const chosen = chosenOf(Object.keys(ENDINGS) as Ending[]);
  const total = { passed: 0, failed: 0 };
  for (const ending of chosen) {
    const { ended, wrong } = await endOften(ending, { root, world, count: Number(values.count), seed: Number(values.seed) });
    console.log(`${ending}: ${ended} of ${values.count} ended well${wrong.length ? `; ${wrong.slice(0, 5).join("; ")}` : ""}`);
    total.passed += ended;
    total.failed += wrong.length;
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed ? 1 : 0;
}

async function kills(): Promise<number> {
  const total = { passed: 0, failed: 0 };
  const count = Number(values.kills ?? values.count);
  const options = { root, world, count, seed: Number(values.seed), load: Number(values.load) };
  for (const stage of chosenOf<KilledStage>(STAGES)) {
    const { ended, wrong, moments } = await killOften(stage, options);
    const places = moments.map(({ told, from }) => `${told}>${from}`).join(" ");
    console.log(`${stage}: ${ended} of ${count} ended as the unbroken run; last step told > gone on from: ${places}`);
    for (const one of wrong) console.log(`  ${one}`);
    total.passed += ended;
    total.failed += wrong.length;
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  return total.failed ? 1 : 0;
}

/** A process of its own, for its garbage collector and its figures. */
function long(): Promise<number> {
  const counts = [values.device, values.answers, values.steps, values.loads].map(String);
  const script = fileURLToPath(new URL("./long.mjs", import.meta.url));
  const env = { ANYMAL_EMULATED_MODULE: join(root, "build/emulator/libanymal_emulated.so"), ...process.env };
  return new Promise((resolve) => {
    spawn(process.execPath, ["--expose-gc", script, root, world, ...counts], { stdio: "inherit", env }).on("close", (code) =>
      resolve(code ?? 1),
    );
  });
}
