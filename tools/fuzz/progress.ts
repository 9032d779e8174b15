// How far the process that fuzzes a reader has come, in a file of three numbers: a message for each input would cost more than the input, and what was sent
// last before a crash is lost.
import { closeSync, openSync, readSync, writeSync } from "node:fs";

export interface Progress {
  /** The input that was begun last; -1 before the first. */
  begun: number;
  /** Inputs that are behind. */
  done: number;
  /** Of these, the ones that the reader took. */
  accepted: number;
}

export class ProgressFile {
  readonly #file: number;
  readonly #numbers = new Float64Array([-1, 0, 0]);

  constructor(path: string, flags: "r+" | "w+") {
    this.#file = openSync(path, flags);
  }
  write({ begun, done, accepted }: Progress): void {
    this.#numbers.set([begun, done, accepted]);
    writeSync(this.#file, this.#numbers, 0, this.#numbers.byteLength, 0);
  }
  read(): Progress {
    readSync(this.#file, this.#numbers, 0, this.#numbers.byteLength, 0);
    const [begun = -1, done = 0, accepted = 0] = this.#numbers;
    return { begun, done, accepted };
  }
  close(): void {
    closeSync(this.#file);
  }
}
