// The real program as a child process, and what it says.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { program } from "../../lib/cli/program.js";
import { colors, square, type Toy } from "../anymal/toy.js";

const MAIN = fileURLToPath(new URL("../../lib/cli/main.ts", import.meta.url));

export interface Outcome {
  code: number | null;
  out: string;
  err: string;
  /** Standard output as JSON, a value a line. */
  json(): Record<string, unknown>[];
}
export interface Running {
  kill(signal: NodeJS.Signals): void;
  /** Resolves when standard output holds so many lines. */
  lines(count: number): Promise<void>;
  /** Resolves when that is so, or the program has ended. */
  holds(so: () => boolean): Promise<void>;
  done: Promise<Outcome>;
}

export function start(args: readonly string[], input = ""): Running {
  const child = spawn(process.execPath, ["--import", "tsx", MAIN, ...args], { stdio: "pipe" });
  let [out, err] = ["", ""];
  const waiting: { count: number; resolve: () => void }[] = [];
  child.stdout.on("data", (chunk) => {
    out += chunk;
    for (const { count, resolve } of waiting) if (out.split("\n").length > count) resolve();
  });
  child.stderr.on("data", (chunk) => {
    err += chunk;
  });
  child.stdin.end(input);
  const done = new Promise<Outcome>((resolve) => {
    child.on("close", (code) => {
      for (const one of waiting) one.resolve();
      resolve({
        code,
        out,
        err,
        json: () =>
          out
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line)),
      });
    });
  });
  return {
    kill: (signal) => void child.kill(signal),
    async holds(so) {
      for (let ended = false; !ended && !quietly(so); ) ended = await Promise.race([done.then(() => true), setTimeout(20, false)]);
    },
    lines: (count) => new Promise((resolve) => waiting.push({ count, resolve })),
    done,
  };
}

/** What cannot be looked at yet is not so yet. */
function quietly(so: () => boolean): boolean {
  try {
    return so();
  } catch {
    return false;
  }
}

export const run = (args: readonly string[], input?: string): Promise<Outcome> => start(args, input).done;

/** The same without a process of its own: what it prints as JSON, or throws. */
export async function inProcess(args: readonly string[]): Promise<{ value: Record<string, unknown>[]; error: Error | undefined }> {
  let out = "";
  const { write } = process.stdout;
  process.stdout.write = (chunk: string | Uint8Array) => {
    out += chunk;
    return true;
  };
  let error: Error | undefined;
  try {
    await program().parseAsync([...args], { from: "user" });
  } catch (thrown) {
    error = thrown as Error;
  } finally {
    process.stdout.write = write;
  }
  return {
    value: out
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
    error,
  };
}

/** A picture of each colour, captions.jsonl and instruct.json about them. */
export async function writeData(world: Toy): Promise<void> {
  for (const color of colors) {
    const { data, width, height } = square(color).source as { data: Uint8Array; width: number; height: number };
    await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(world.path(`${color}.png`));
  }
  const rows = (make: (color: string) => object) => colors.map((color) => JSON.stringify(make(color)));
  writeFileSync(world.path("captions.jsonl"), rows((color) => ({ image: `${color}.png`, caption: color })).join("\n"));
  const asked = (color: string) => [
    { from: "human", value: "<image>\ncolor?" },
    { from: "gpt", value: color },
  ];
  writeFileSync(
    join(world.folder, "instruct.json"),
    `[${rows((color) => ({ image: `${color}.png`, conversations: asked(color) })).join(",")}]`,
  );
}
