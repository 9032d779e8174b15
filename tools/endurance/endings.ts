// Lives of the addon that end in mid-work, at moments drawn at random, and how each must end.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export interface EndingOptions {
  root: string;
  world: string;
  count: number;
  seed: number;
}
export interface Outcome {
  ended: number;
  wrong: string[];
}
export type Ending = "worker" | "exit" | "throw" | "abort";

/** How a process must end, and how many endings one process sees. Workers and aborts are survived, so one process goes on and looks at what is left. */
export const ENDINGS: Record<Ending, { code: number; perProcess: number; stderr?: RegExp }> = {
  worker: { code: 0, perProcess: 25 },
  exit: { code: 7, perProcess: 1 },
  throw: { code: 1, perProcess: 1, stderr: /thrown on purpose/ },
  abort: { code: 0, perProcess: 25 },
};
const SIDE_BY_SIDE = 2;
const LIMIT_MS = 5 * 60_000;

export async function endOften(ending: Ending, { root, world, count, seed }: EndingOptions): Promise<Outcome> {
  const { code, perProcess, stderr } = ENDINGS[ending];
  const lives = Array.from({ length: Math.ceil(count / perProcess) }, (_, i) => ({
    seed: seed * 100_003 + i,
    rounds: Math.min(perProcess, count - i * perProcess),
  }));
  const outcome: Outcome = { ended: 0, wrong: [] };
  const drain = async () => {
    for (let life = lives.shift(); life; life = lives.shift()) {
      const r = await live([root, world, ending, String(life.seed), String(life.rounds)]);
      const well =
        r.signal === null && r.code === code && (!stderr || stderr.test(r.stderr)) && (code !== 0 || r.stdout.endsWith("nothing left\n"));
      if (well) outcome.ended += life.rounds;
      else outcome.wrong.push(`seed ${life.seed}: ${r.signal ?? `exit code ${r.code}`}: ${`${r.stdout}${r.stderr}`.trim().slice(-600)}`);
    }
  };
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, drain));
  return outcome;
}

function live(args: string[]): Promise<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, ["--expose-gc", fileURLToPath(new URL("./life.mjs", import.meta.url)), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: LIMIT_MS,
    killSignal: "SIGKILL",
  });
  const said = { stdout: "", stderr: "" };
  child.stdout.on("data", (chunk) => {
    said.stdout += chunk;
  });
  child.stderr.on("data", (chunk) => {
    said.stderr += chunk;
  });
  return new Promise((resolve) => {
    child.on("close", (code, signal) => resolve({ code, signal, ...said }));
  });
}
