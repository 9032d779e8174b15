// A course of stages on a machine that is lent for minutes: each has its share of the time that is left, what it says is written as it comes, a
// stage that fails or runs out of time is recorded and the next one goes on, and a course that was broken off is taken up where it ended.
import { type ChildProcess, spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Command {
  command: string;
  args: string[];
  env?: Record<string, string>;
}
export interface Stage {
  name: string;
  /** Its part of the time, against those of the stages still to come: what one leaves, the others share. */
  weight: number;
  /** One after the other, until one fails. Or a sentence that says why there is nothing to run here. */
  commands: Command[] | string;
}
export type Outcome = "ok" | "failed" | "out of time" | "skipped" | "running";
export interface Result {
  stage: string;
  outcome: Outcome;
  seconds: number;
  detail: string;
}
export interface Report {
  machine: Record<string, unknown>;
  commit: string;
  minutes: number;
  stages: Result[];
}
export interface CourseOptions {
  minutes: number;
  /** Where results go, all of them to each: what one machine keeps, and what is carried from it. */
  folders: readonly string[];
  machine: Record<string, unknown>;
  /** Results of another commit are not gone on from. */
  commit: string;
  root: string;
  /** Stages to run although they have ended before. */
  again?: readonly string[];
  say?: (line: string) => void;
}

export const RESULTS = "results.json";
const KILL_MS = 5_000;

/** The first folder's results that are of this commit. */
function earlier({ folders, commit }: CourseOptions): Result[] {
  for (const folder of folders) {
    const file = join(folder, RESULTS);
    if (!existsSync(file)) continue;
    try {
      const report = JSON.parse(readFileSync(file, "utf8")) as Report;
      if (report.commit === commit) return report.stages;
    } catch {
      // broken off while it was copied
    }
  }
  return [];
}

/** Replaced as a whole: whoever ends the machine finds the one before or this one. */
function writeReport(folders: readonly string[], report: Report): void {
  for (const folder of folders) {
    writeFileSync(join(folder, `${RESULTS}.part`), `${JSON.stringify(report, null, 1)}\n`);
    renameSync(join(folder, `${RESULTS}.part`), join(folder, RESULTS));
  }
}

let running: ChildProcess | undefined;

/** The process and what it has started. */
function end(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid) process.kill(-child.pid, signal);
  } catch {
    // it has ended
  }
}

interface Ended {
  code: number | null;
  late: boolean;
  tail: string;
}

function run({ command, args, env }: Command, limitMs: number, { folders, root }: CourseOptions, log: string): Promise<Ended> {
  return new Promise((resolve) => {
    const write = (text: string | Buffer) => {
      for (const folder of folders) appendFileSync(join(folder, log), text);
    };
    write(`$ ${[command, ...args].join(" ")}\n`);
    const child = spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"], detached: true });
    running = child;
    let tail = "";
    let late = false;
    const take = (chunk: Buffer) => {
      write(chunk);
      tail = (tail + chunk).slice(-8000);
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.on("error", (error) => take(Buffer.from(`${error.message}\n`)));
    const timer = setTimeout(() => {
      late = true;
      end(child, "SIGTERM");
      setTimeout(() => end(child, "SIGKILL"), KILL_MS).unref();
    }, limitMs);
    child.on("close", (code) => {
      clearTimeout(timer);
      running = undefined;
      resolve({ code, late, tail });
    });
  });
}

/** What a stage says of itself: why it was skipped, its counts, or its last line. */
function detailOf(tails: string[]): string {
  const lines = tails.flatMap((tail) => tail.trim().split("\n"));
  const counts = tails.flatMap((tail) => {
    const native = [...tail.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
    if (native) return [[Number(native[1]), Number(native[2])]];
    const [total, passed] = [/Total:\s+(\d+)/.exec(tail)?.[1], /Passed:\s+(\d+)/.exec(tail)?.[1]];
    return total && passed ? [[Number(passed), Number(total) - Number(passed)]] : [];
  }) as [number, number][];
  if (!counts.length) return (lines.at(-1) ?? "").slice(0, 200);
  return `${counts.reduce((n, [passed]) => n + passed, 0)} passed, ${counts.reduce((n, [, failed]) => n + failed, 0)} failed`;
}

async function runStage(stage: Stage, limitMs: number, options: CourseOptions): Promise<Omit<Result, "stage" | "seconds">> {
  if (typeof stage.commands === "string") return { outcome: "skipped", detail: stage.commands };
  const until = performance.now() + limitMs;
  const tails: string[] = [];
  for (const command of stage.commands) {
    const { code, late, tail } = await run(command, Math.max(1, until - performance.now()), options, `${stage.name}.log`);
    tails.push(tail);
    if (late) return { outcome: "out of time", detail: `after ${Math.round(limitMs / 1000)} s; ${detailOf(tails)}` };
    if (code !== 0) return { outcome: "failed", detail: `exit code ${code ?? "none: ended by a signal"}; ${detailOf(tails)}` };
  }
  const skipped = /^skipped: (.*)$/m.exec(tails.join("\n"))?.[1];
  return skipped && tails.length === 1 ? { outcome: "skipped", detail: skipped } : { outcome: "ok", detail: detailOf(tails) };
}

export function table(results: readonly Result[]): string {
  const width = Math.max(...results.map(({ stage }) => stage.length), 5);
  const lines = results.map(
    ({ stage, outcome, seconds, detail }) =>
      `${stage.padEnd(width)}  ${outcome.padEnd(11)}  ${seconds.toFixed(1).padStart(7)} s  ${detail}`,
  );
  return [`${"stage".padEnd(width)}  outcome`, ...lines].join("\n");
}

export async function runCourse(stages: readonly Stage[], options: CourseOptions): Promise<Report> {
  const { minutes, folders, machine, commit, again = [], say = console.log } = options;
  for (const folder of folders) mkdirSync(folder, { recursive: true });
  const begin = performance.now();
  const report: Report = { machine, commit, minutes, stages: earlier(options) };
  const ended = (name: string) =>
    !again.includes(name) &&
    report.stages.some(({ stage, outcome }) => stage === name && (outcome === "ok" || outcome === "failed" || outcome === "skipped"));
  const record = (result: Result) => {
    report.stages = stages.flatMap(({ name }) => (name === result.stage ? [result] : report.stages.filter(({ stage }) => stage === name)));
    writeReport(folders, report);
  };
  const breakOff = () => {
    if (running) end(running, "SIGKILL");
    process.exit(143); // the stage stays "running": the next start begins it anew
  };
  process.once("SIGTERM", breakOff);
  process.once("SIGINT", breakOff);
  const open = stages.filter(({ name }) => !ended(name));
  for (const { name } of stages) if (ended(name)) say(`     ${name}: ended before`);
  for (const [i, stage] of open.entries()) {
    const left = minutes * 60_000 - (performance.now() - begin);
    if (left < 1000) break;
    const weights = open.slice(i).reduce((sum, { weight }) => sum + weight, 0);
    const limit = (left * stage.weight) / weights;
    record({ stage: stage.name, outcome: "running", seconds: 0, detail: "" });
    const start = performance.now();
    const result = { stage: stage.name, ...(await runStage(stage, limit, options)), seconds: (performance.now() - start) / 1000 };
    record(result);
    say(`${result.outcome === "ok" ? "ok  " : result.outcome === "failed" ? "FAIL" : "    "} ${table([result]).split("\n")[1]}`);
  }
  process.off("SIGTERM", breakOff);
  process.off("SIGINT", breakOff);
  writeReport(folders, report);
  return report;
}
