// A Python process that answers lines of JSON in order.
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export class Oracle {
  readonly #child: ChildProcess;
  readonly #waiting: { resolve: (answer: unknown) => void; reject: (problem: Error) => void }[] = [];
  #ended: Error | undefined;

  constructor(python: string, script: string) {
    const path = fileURLToPath(new URL(`./python/${script}`, import.meta.url));
    this.#child = spawn(python, ["-B", path], { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, PYTHONUTF8: "1", TZ: "UTC" } });
    this.#child.on("error", (problem) => this.#fail(problem));
    this.#child.on("exit", (code) => this.#fail(new Error(`${python} ${script} ended with code ${code}`)));
    this.#child.stdin?.on("error", () => {}); // its exit says more
    const lines = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream, crlfDelay: Number.POSITIVE_INFINITY });
    lines.on("line", (line) => this.#waiting.shift()?.resolve(JSON.parse(line)));
  }

  #fail(problem: Error): void {
    this.#ended ??= problem;
    for (const { reject } of this.#waiting.splice(0)) reject(problem);
  }

  ask(question: unknown): Promise<unknown> {
    if (this.#ended) return Promise.reject(this.#ended);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#child.stdin?.write(`${JSON.stringify(question)}\n`);
    });
  }

  end(): void {
    this.#child.stdin?.end();
  }
}
