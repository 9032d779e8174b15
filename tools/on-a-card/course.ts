// A course of stages on a machine that is lent for minutes: each has its share of the time that is left, what it says is written as it comes, a
// stage that fails or runs out of time is recorded and the next one goes on, and a course that was broken off is taken up where it ended.
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ended, type Command as Program, runToEnd } from "../test-process.js";

export interface Command extends Program {
  env?: Record<string, string>;
}
export interface Stage {
  name: string;
  /** Its part of the time, against those of the stages still to come: what one leaves, the others share. */
  weight: number;
  /**
   * The others are nothing without it: it may take all the time that is left, and where even that is too little, or where it fails, they are not begun. The
   * next start begins with it.
   */
  needed?: boolean;
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
/** Of what a command said, in characters: where its counts stand. */
const TAIL = 8000;

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

function run({ command, args, env }: Command, limitMs: number, { folders, root }: CourseOptions, log: string): Promise<Ended> {
  const write = (text: string) => {
    for (const folder of folders) appendFileSync(join(folder, log), text);
  };
  write(`$ ${[command, ...args].join(" ")}\n`);
  return runToEnd({ command, args }, limitMs / 1000, { cwd: root, env: { ...process.env, ...env }, said: write });
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
    const { ok, code, late, reason, output } = await run(command, Math.max(1, until - performance.now()), options, `${stage.name}.log`);
    tails.push(output.slice(-TAIL));
    if (late) return { outcome: "out of time", detail: `after ${Math.round(limitMs / 1000)} s; ${detailOf(tails)}` };
    if (!ok) return { outcome: "failed", detail: `${reason ?? `exit code ${code}`}; ${detailOf(tails)}` };
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
    report.stages.some(
      ({ stage, outcome }) =>
        stage === name &&
        (outcome === "ok" || outcome === "skipped" || (outcome === "failed" && !stages.some((s) => s.name === name && s.needed))),
    );
  const record = (result: Result) => {
    report.stages = stages.flatMap(({ name }) => (name === result.stage ? [result] : report.stages.filter(({ stage }) => stage === name)));
    writeReport(folders, report);
  };
  const open = stages.filter(({ name }) => !ended(name));
  for (const { name } of stages) if (ended(name)) say(`     ${name}: ended before`);
  for (const [i, stage] of open.entries()) {
    const left = minutes * 60_000 - (performance.now() - begin);
    if (left < 1000) break;
    const weights = open.slice(i).reduce((sum, { weight }) => sum + weight, 0);
    const limit = stage.needed ? left : (left * stage.weight) / weights;
    // So it stays where the course is broken off: the next start begins it anew.
    record({ stage: stage.name, outcome: "running", seconds: 0, detail: "" });
    const start = performance.now();
    const result = { stage: stage.name, ...(await runStage(stage, limit, options)), seconds: (performance.now() - start) / 1000 };
    record(result);
    say(`${result.outcome === "ok" ? "ok  " : result.outcome === "failed" ? "FAIL" : "    "} ${table([result]).split("\n")[1]}`);
    if (stage.needed && result.outcome === "failed") {
      say(
        `The course ends here: what comes after "${stage.name}" would say nothing of this card. What was said is in ${join(folders.at(-1) as string, `${stage.name}.log`)}; start it again when that is mended.`,
      );
      break;
    }
  }
  writeReport(folders, report);
  return report;
}
