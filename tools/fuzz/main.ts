// `npm run fuzz -- NAME`: hostile files against one reader, as long as asked. The reader runs in a process of its own, so that a crash and a hang are
// findings too. The input that fails is written down with the seed that makes it again.
//   npm run fuzz -- gguf --seconds 600     for ten minutes (default: 60 s)
//   npm run fuzz -- wav --inputs 5000      a number of inputs
//   npm run fuzz -- csv --seed 7 --at 123 --inputs 1     one input again
//   npm run fuzz -- all --seconds 20       every target, --parallel N of them at a time
import { type ChildProcess, fork } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type AllOptions, fuzzAll } from "./all.js";
import { inputOf } from "./input.js";
import { type Progress, ProgressFile } from "./progress.js";
import type { Target } from "./target.js";
import { TARGETS } from "./targets/index.js";

/** How long the reader may be silent. */
const HANG_MS = 30_000;

/** What the reader's process says: what is wrong with an input. */
export interface Report {
  failed: number;
  problem: string;
}

interface Asked {
  target: Target;
  seed: number;
  from: number;
  inputs: number;
  seconds: number;
  output: string;
}

function asked(): Asked | AllOptions {
  const number = (name: string, text: string | undefined, otherwise: number) => {
    const value = text === undefined ? otherwise : Number(text);
    if (!Number.isInteger(value) || value < 0) usage(`--${name}: expected an integer >= 0, got ${text}`);
    return value;
  };
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        seconds: { type: "string" },
        inputs: { type: "string" },
        seed: { type: "string" },
        at: { type: "string" },
        output: { type: "string" },
        parallel: { type: "string" },
      },
    });
    if (positionals[0] === "all" && positionals.length === 1 && values.at === undefined) {
      const { parallel, ...others } = values;
      const flags = Object.entries(others).flatMap(([name, value]) => [`--${name}`, value]);
      return { parallel: parallel === undefined ? undefined : number("parallel", parallel, 1), flags };
    }
    const target = TARGETS.find(({ name }) => name === positionals[0]);
    if (!target || positionals.length > 1) return usage(`expected all, or one of ${TARGETS.map(({ name }) => name).join(", ")}`);
    const inputs = number("inputs", values.inputs, Number.MAX_SAFE_INTEGER);
    const seconds = number("seconds", values.seconds, values.inputs === undefined ? 60 : 7 * 86400);
    const seed = number("seed", values.seed, 1);
    return { target, seed, from: number("at", values.at, 0), inputs, seconds, output: values.output ?? join("build", "fuzz") };
  } catch (error) {
    return usage((error as Error).message);
  }
}

function usage(problem: string): never {
  console.error(
    `${problem}\nusage: npm run fuzz -- NAME [--seconds N | --inputs N] [--seed S] [--at INDEX] [--output FOLDER] [--parallel N, of all]`,
  );
  process.exit(2);
}

/** Resolves with the inputs that were tried, or rejects with the one that failed. */
function watch(child: ChildProcess, { target, seed, from, inputs, seconds }: Asked, progress: string): Promise<Progress> {
  const told = new ProgressFile(progress, "w+");
  told.write({ begun: -1, done: 0, accepted: 0 });
  return new Promise<Progress>((resolve, reject) => {
    let [ending, seen, since] = [false, "", 0];
    const fail = (index: number, problem: string) => {
      ending = true;
      clearInterval(clock);
      child.kill("SIGKILL");
      reject(Object.assign(new Error(problem), { index }));
    };
    const clock = setInterval(() => {
      const { begun, done } = told.read();
      if (seen !== `${begun} ${done}`) [seen, since] = [`${begun} ${done}`, Date.now()];
      else if (begun >= 0 && Date.now() - since > HANG_MS) fail(begun, `no answer for ${HANG_MS / 1000} s`);
    }, 500);
    child.on("message", ({ failed, problem }: Report) => fail(failed, problem));
    child.on("exit", (code, signal) => {
      clearInterval(clock);
      if (ending) return;
      const reached = told.read();
      if (code === 0) resolve(reached);
      else fail(Math.max(from, reached.begun), `the process ended with ${signal ?? `code ${code}`}`);
    });
    child.send({ name: target.name, seed, from, inputs, seconds, progress });
  }).finally(() => told.close());
}

async function fuzzOne(options: Asked): Promise<boolean> {
  const { target, seed, output } = options;
  const child = fork(fileURLToPath(new URL("./child.ts", import.meta.url)), {
    execArgv: ["--import", "tsx"],
    env: { ...process.env, NODE_NO_WARNINGS: "1" },
  });
  const folder = mkdtempSync(join(tmpdir(), "anymal-fuzz-"));
  try {
    const { done, accepted } = await watch(child, options, join(folder, "progress"));
    console.log(`${target.name}: ${done} inputs with seed ${seed}, ${accepted} of them taken, nothing found`);
    return true;
  } catch (error) {
    const { index, message } = error as Error & { index: number };
    mkdirSync(output, { recursive: true });
    const path = join(output, `${target.name}-${seed}-${index}`);
    writeFileSync(path, inputOf(target, seed, index));
    console.error(`${target.name}: input ${index} of seed ${seed} ${message}`);
    console.error(`written to ${path}; again: npm run fuzz -- ${target.name} --seed ${seed} --at ${index} --inputs 1`);
    return false;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const options = asked();
if (!(await ("flags" in options ? fuzzAll(options) : fuzzOne(options)))) process.exitCode = 1;
