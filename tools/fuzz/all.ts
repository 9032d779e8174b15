// `npm run fuzz -- all`: every target, a few at a time, each in processes of its own; closes with `N passed, N failed`, a target each.
//   npm run fuzz -- all --seconds 20 --parallel 2
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { TARGETS } from "./targets/index.js";

export interface AllOptions {
  parallel: number | undefined;
  /** What each target is started with. */
  flags: readonly string[];
}

/** Whether nothing was found. */
export async function fuzzAll({ parallel = availableParallelism(), flags }: AllOptions): Promise<boolean> {
  const left = TARGETS.map(({ name }) => name);
  let failed = 0;
  const work = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) if ((await fuzzed(name, flags)) !== 0) ++failed;
  };
  await Promise.all(Array.from({ length: Math.max(1, parallel) }, work));
  console.log(`${TARGETS.length - failed} passed, ${failed} failed`);
  return failed === 0;
}

function fuzzed(name: string, flags: readonly string[]): Promise<number | null> {
  const main = fileURLToPath(new URL("./main.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", main, name, ...flags], { stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve, reject) => child.once("error", reject).once("exit", resolve));
}
