// What a script launches on the emulated card, kernel by kernel, in a process of its own: the emulator writes its counts when a process ends.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";

const root = fileURLToPath(new URL("../..", import.meta.url));

export type Launches = ReadonlyMap<string, number>;
/** What opens the device and makes the parameters, no pass. */
const MAKING = ["probe_kernel", "random_kernel", "fill_kernel"];

/** A Hopper card whose products of many rows are asked for on wgmma. */
export const HOPPER = { EMU_CAPABILITY: "90", ANYMAL_CUDA_WGMMA: "1" };

/** Of all kernels, by the name of the function: instances of a template together. `asked` is the script's argument; `card`: what the emulated one is. */
export function launches(script: string, asked: object, card: Record<string, string> = {}): Launches {
  const folder = mkdtempSync(join(tmpdir(), "anymal-launches-"));
  try {
    const stats = join(folder, "stats");
    const path = fileURLToPath(new URL(script, import.meta.url));
    const env = { ...process.env, ...card, EMU_STATS: stats };
    const r = spawnSync(process.execPath, ["--import", "tsx", path, JSON.stringify(asked)], { cwd: root, env, encoding: "utf8" });
    assert.is(r.status, 0, r.stderr);
    const counts = new Map<string, number>();
    for (const line of readFileSync(stats, "utf8").trim().split("\n")) {
      const [kernel, count] = line.split("\t") as [string, string];
      const name = kernel.replace(/<.*/, "").replace(/^.*::/, "");
      if (Number(count) && !MAKING.includes(name)) counts.set(name, (counts.get(name) ?? 0) + Number(count));
    }
    return counts;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What `more` launches beyond `less`. */
export const beyond = (less: Launches, more: Launches): Launches =>
  new Map([...more].map(([name, n]): [string, number] => [name, n - (less.get(name) ?? 0)]).filter(([, n]) => n > 0));

export const total = (counts: Launches) => [...counts.values()].reduce((a, b) => a + b, 0);
export const said = (counts: Launches) => [...counts].map(([name, n]) => `${n} ${name}`).join(", ");
