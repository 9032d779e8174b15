// What a run of a suite leaves as JSON, in the form that bench/schema.json describes: other harnesses read it, and `npm run bench -- readme` does.
import { execFileSync } from "node:child_process";
import { cpus, loadavg, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import type { Clock } from "./clock.js";
import type { Figures } from "./contest.js";

/** Of the form. A field that is added leaves it as it is; one that changes or goes raises it. */
export const SCHEMA = 1;

/** Where those are kept that the README tells of. */
export const RESULTS = fileURLToPath(new URL("./results", import.meta.url));

export interface Machine {
  cpu: string;
  cores: number;
  memoryGiB: number;
  node: string;
}
/** FLOP/s and bytes/s that this machine gave when nothing was in the way. */
export interface Peaks {
  f32: number;
  bf16: number;
  bandwidth: number;
  /** Of a card: FLOP/s of bf16 products by Hopper's warp groups, 0 where there are none; the others are mma.sync's. */
  wgmma?: number;
}
export interface BenchRecord {
  schema: typeof SCHEMA;
  suite: string;
  machine: Machine;
  /** Of the dispatch levels that were measured, the highest. */
  level: string;
  threads: number;
  commit: string;
  date: string;
  command: string;
  seconds: number;
  /** What was counted: see clock.ts. */
  clock: Clock;
  /** How many wanted to run when it began, and over the last minute of it: above 1 before it begins, others took of its time. */
  load: { before: number; after: number };
  /** What describes the last device that was measured. */
  device?: string;
  peaks: Record<string, Peaks>;
  rows: readonly Figures[];
}

export function machine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.versions.node,
  };
}

/** What results say does not make a tree dirty: those of one suite are there when the next one runs. */
export function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, { encoding: "utf8", cwd: new URL("..", import.meta.url), stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    const dirty = git("status", "--porcelain", "--", ".", ":!bench/results", ":!README.md");
    return git("describe", "--always") + (dirty ? "-dirty" : "");
  } catch {
    return "unknown"; // a tarball has no history
  }
}

export const load = (): number => Number((loadavg()[0] as number).toFixed(2));
