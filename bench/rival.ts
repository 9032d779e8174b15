// Another library's time for the same op, asked of a Python process that stays open: see bench/rivals/torch_ops.py.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { OpCase } from "./op-cases.js";

export class Rival {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  name = "";

  private constructor(python: string, threads: number | undefined) {
    const script = fileURLToPath(new URL("./rivals/torch_ops.py", import.meta.url));
    const args = threads === undefined ? [script] : [script, String(threads)];
    this.#child = spawn(python, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** `python` has PyTorch. Rejects where it does not. */
  static async start(python: string, threads?: number): Promise<Rival> {
    const rival = new Rival(python, threads);
    const failed = new Promise<never>((_, reject) => rival.#child.once("error", reject));
    rival.name = (await Promise.race([rival.#answer(), failed])).rival as string;
    return rival;
  }

  /** Seconds per call, or undefined where the other library has no such op. */
  async time(c: OpCase, device: string, copies: number, seconds: number): Promise<number | undefined> {
    // A handle made on our device means nothing there.
    if (c.args.flat().some((arg) => typeof arg === "function")) return undefined;
    const request = { op: c.op, args: c.args.map((arg) => arg ?? null), device, copies, seconds };
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return ((await this.#answer()).seconds as number | null) ?? undefined;
  }

  close(): void {
    this.#child.stdin.end();
    this.#lines.close();
  }

  async #answer(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("the rival's process has ended: does its Python have PyTorch?");
    return JSON.parse(value);
  }
}
