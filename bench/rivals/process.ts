// Another library in a process of its own, which waits while ours is timed. It says hello, then answers each line of JSON with one:
// {"do": "prepare", …} with {"id"}, {"do": "sample", "id"} with {"seconds"}, {"do": "drop", "id"} with {}; or {"error"} where it cannot.
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface, type Interface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Side } from "../contest.js";

/** Until the threads of an OpenMP library no longer spin for their next work. */
const REST_MS = 5;

export interface Prepared extends Side {
  drop(): Promise<void>;
}

export class RivalProcess {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: Interface;
  readonly #answers: AsyncIterator<string>;
  name = "";
  version = "";

  private constructor(command: string, args: readonly string[]) {
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout });
    this.#answers = this.#lines[Symbol.asyncIterator]();
  }

  /** Rejects where the command cannot be run, or ends before it has said hello. */
  static async start(command: string, args: readonly string[]): Promise<RivalProcess> {
    const rival = new RivalProcess(command, args);
    const failed = new Promise<never>((_, reject) => rival.#child.once("error", reject));
    const { name, version } = await Promise.race([rival.#answer(), failed]);
    rival.name = name as string;
    rival.version = version as string;
    return rival;
  }

  /** Undefined, with a line on the console, where the other library cannot do it. `as`: its name in the result, behind the library's. */
  async prepare(request: object, as = ""): Promise<Prepared | undefined> {
    const { id, error } = await this.#ask({ do: "prepare", ...request });
    if (error !== undefined) console.log(`${this.name}: ${error}`);
    if (id === undefined) return undefined;
    return {
      name: as ? `${this.name}, ${as}` : this.name,
      version: this.version,
      sample: async () => {
        const { seconds, error } = await this.#ask({ do: "sample", id });
        await sleep(REST_MS);
        if (typeof seconds !== "number") throw new Error(`${this.name}: ${error ?? "no time was told"}`);
        return seconds;
      },
      drop: async () => void (await this.#ask({ do: "drop", id })),
    };
  }

  close(): void {
    this.#child.stdin.end();
    this.#lines.close();
  }

  #ask(request: object): Promise<Record<string, unknown>> {
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }
  async #answer(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error(`the rival's process (${this.#child.spawnfile}) has ended`);
    return JSON.parse(value);
  }
}
