// A test file, or another step of a longer run, in a process of its own with all that it starts: at its limit the whole group is ended, so that
// nothing holds its output open, eats a processor or goes on writing while the next ones run. Ended itself, this process ends what it runs first.
import { type ChildProcess, spawn } from "node:child_process";

export interface Command {
  command: string;
  args: readonly string[];
}
export interface Ended {
  output: string;
  ok: boolean;
  /** None where a signal ended it. */
  code: number | null;
  /** It was ended at its limit. */
  late: boolean;
  seconds: number;
  /** Why it did not come to its own end. */
  reason?: string;
}

const LAST_WORDS_MS = 5000;
const running = new Set<ChildProcess>();

/** Windows has no groups: there the process alone is ended. */
function end(child: ChildProcess): void {
  try {
    if (process.platform === "win32" || child.pid === undefined) child.kill("SIGKILL");
    else process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // all of it has ended
  }
}

// Groups of their own do not hear a terminal's Ctrl-C.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.once(signal, () => {
    for (const child of running) end(child);
    process.exit(code);
  });

/** Resolves once the process has ended and its output is whole, whatever became of it. */
export function runToEnd(
  { command, args }: Command,
  limitSeconds: number,
  { cwd, env, said }: { cwd: string; env: NodeJS.ProcessEnv; said?: (text: string) => void },
): Promise<Ended> {
  return new Promise((resolve) => {
    const start = performance.now();
    const child = spawn(command, args, { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: process.platform !== "win32" });
    running.add(child);
    let output = "";
    let late = false;
    let reason: string | undefined;
    const take = (text: string) => {
      output += text;
      said?.(text);
    };
    const limit = setTimeout(() => {
      late = true;
      reason = `ended after its limit of ${limitSeconds} s, with all that it had started`;
      end(child);
    }, limitSeconds * 1000);
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", take);
    child.on("error", (error) => {
      reason ??= String(error);
      take(`${error}\n`);
    });
    // What it left behind would keep its output open, and `close` from coming; what even left the group is not waited for.
    child.on("exit", (_, signal) => {
      if (signal) reason ??= `ended by ${signal}`;
      end(child);
      setTimeout(() => [child.stdout, child.stderr].map((stream) => stream.destroy()), LAST_WORDS_MS).unref();
    });
    child.on("close", (code) => {
      clearTimeout(limit);
      running.delete(child);
      resolve({ output, ok: code === 0, code, late, seconds: (performance.now() - start) / 1000, ...(reason && { reason }) });
    });
  });
}
