// The libraries that a bench is held against. node-llama-cpp is installed into build/rivals, which git ignores, and stays there; PyTorch is whatever a
// Python has. What is missing is said once, and the bench goes on without it.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { randomConfig } from "../random-llama.js";
import { writeRandomGguf } from "./gguf.js";
import { type Prepared, RivalProcess } from "./process.js";

const VERSION = "3.22.1";
const FOLDER = fileURLToPath(new URL("../../build/rivals", import.meta.url));
const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
/** Where each of its packages has the binary for the CPU alone; the others are for cards. */
const BINARIES: Record<string, string> = {
  "darwin-arm64": "mac-arm64-metal",
  "darwin-x64": "mac-x64",
  "win32-x64": "win-x64",
  "win32-arm64": "win-arm64",
};

export interface RivalOptions {
  /** Default: python3. */
  python: string | undefined;
  threads: number | undefined;
  /** Where PyTorch computes: "cuda", or else the CPU. */
  device?: string | undefined;
}

export class Rivals {
  readonly #started = new Map<string, Promise<RivalProcess | undefined>>();
  constructor(private readonly options: RivalOptions) {}

  /** Sides of PyTorch for one request each; those that it cannot do are left out. */
  async torch(...requests: readonly (readonly [request: object, as: string])[]): Promise<Prepared[]> {
    const torch = await this.#once("torch", () => startTorch(this.options));
    const sides = [];
    for (const [request, as] of requests) sides.push((await torch?.prepare(request, as)) ?? []);
    return sides.flat();
  }

  /** Sides of llama.cpp over a model of the size in Q4_0: with one thread and with two, unless their number is given. */
  async llama(size: string, request: object): Promise<Prepared[]> {
    const llama = await this.#once("llama", () => startLlama(size));
    const threads = this.options.threads === undefined ? [1, 2] : [this.options.threads];
    const sides = [];
    for (const n of threads) sides.push((await llama?.prepare({ ...request, threads: n }, `Q4_0, ${n} thread${n > 1 ? "s" : ""}`)) ?? []);
    return sides.flat();
  }

  async close(): Promise<void> {
    for (const started of this.#started.values()) (await started)?.close();
  }

  #once(name: string, start: () => Promise<RivalProcess>): Promise<RivalProcess | undefined> {
    const before = this.#started.get(name);
    if (before) return before;
    const started = start().catch((error: Error) => {
      console.log(`no ${name} to be held against: ${error.message.trim().split("\n").at(-1)}`);
      return undefined;
    });
    this.#started.set(name, started);
    return started;
  }
}

async function startTorch({ python = "python3", threads, device }: RivalOptions): Promise<RivalProcess> {
  const needed = device === "cuda" ? "import torch; assert torch.cuda.is_available(), 'its PyTorch sees no card'" : "import torch";
  execFileSync(python, ["-c", needed], { stdio: ["ignore", "ignore", "pipe"], encoding: "utf8" });
  const where = device === "cuda" ? ["--device", "cuda"] : [];
  return RivalProcess.start(python, [here("torch_rival.py"), ...(threads === undefined ? [] : ["--threads", String(threads)]), ...where]);
}

async function startLlama(size: string): Promise<RivalProcess> {
  const installed = installLlama();
  const model = join(FOLDER, `random-${size}.gguf`);
  if (!existsSync(model)) writeRandomGguf(model, randomConfig(size));
  return RivalProcess.start(process.execPath, ["--import", "tsx", here("llama-rival.ts"), installed, model]);
}

/** The module's file. Neither its scripts, which might build it anew, nor its binaries for cards are asked for. */
function installLlama(): string {
  const folder = join(FOLDER, `node-llama-cpp-${VERSION}`);
  const entry = join(folder, "node_modules/node-llama-cpp/dist/index.js");
  if (existsSync(entry)) return entry;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "private": true }\n'); // npm would look for one further up
  const platform = `${process.platform}-${process.arch}`;
  const packages = ["node-llama-cpp", `@node-llama-cpp/${BINARIES[platform] ?? platform}`].map((name) => `${name}@${VERSION}`);
  console.log(`installing ${packages.join(", ")} into ${folder}`);
  const flags = ["--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"];
  execFileSync("npm", ["install", "--prefix", folder, ...flags, ...packages], {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  return entry;
}
