// A worker that decodes: orders in, answers out in the same order, a clock on the one that it is at.
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Answer, Order } from "./decode-loop.js";

/** Here for the tests: nobody waits for half a minute. */
export const decodeLimits = {
  /** How long an answer may take. What is decoded for one takes milliseconds, on a busy machine a second. */
  answerMs: 30_000,
  /** How long a worker without work is kept. It keeps no process from its end. */
  idleMs: 10_000,
  /** Of JavaScript's heap, tables of a long film included. */
  heapMb: 512,
};

const url = new URL("./decode-worker.mjs", import.meta.url);
export const workerFile = fileURLToPath(url);

interface Asked {
  isEnd: boolean;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
  /** Nobody waits for it any more. */
  isDropped?: boolean;
}

export class DecodeThread {
  /** Sounds that have it: the one that it is at, and those behind. */
  taken = 0;
  /** By a sound that goes on behind its first answer: none may stand behind that. */
  isHeld = false;
  /** It can run: what ends it is a sound. */
  hasAnswered = false;
  readonly #worker: Worker;
  readonly #onEnd: () => void;
  readonly #asked: Asked[] = [];
  #isGone = false;
  #clock: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;

  /** Throws where the process may have no workers. `onEnd` is called once, however it ends. */
  constructor(onEnd: (thread: DecodeThread) => void) {
    this.#onEnd = () => onEnd(this);
    this.#worker = new Worker(url, {
      name: "anymal-decode",
      resourceLimits: { maxOldGenerationSizeMb: decodeLimits.heapMb },
      // What says how a script on the command line is read would be taken for the worker's file.
      ...(process.execArgv.some((flag) => /^--(experimental-default|input)-type/.test(flag)) && { execArgv: [] }),
    });
    this.#worker
      .on("message", (answer: Answer) => this.#answered(answer))
      .on("error", (error) => this.end(error))
      .on("exit", () => this.end(noAnswer("ANYMAL_NO_ANSWER", "the decoder's thread ended")));
  }

  take(): void {
    if (this.taken++ === 0) this.#worker.ref();
    clearTimeout(this.#idle);
  }

  release(): void {
    if (--this.taken > 0 || this.#isGone) return;
    this.#worker.unref();
    this.#idle = setTimeout(() => this.end(), decodeLimits.idleMs).unref();
  }

  /** Rejects with the code ANYMAL_BEHIND where the worker ended at an order before this one. */
  async ask(order: Exclude<Order, { close: true }>, signal: AbortSignal | undefined, moved: ArrayBuffer[] = []): Promise<Answer> {
    if (this.#isGone) throw noAnswer("ANYMAL_NO_ANSWER", "the decoder's thread ended");
    let unheard: (() => void) | undefined;
    try {
      return await new Promise((resolve, reject) => {
        const asked: Asked = { isEnd: order.isEnd, resolve, reject };
        unheard = signal && onAbort(signal, () => this.#drop(asked, signal.reason));
        this.#asked.push(asked);
        if (this.#asked.length === 1) this.#startClock();
        this.#worker.postMessage(order, moved);
      });
    } finally {
      unheard?.();
    }
  }

  /** The sound that is open ends here; no answer. */
  close(): void {
    this.#worker.postMessage({ close: true } satisfies Order);
  }

  /** Whoever waits for the answer that it is at hears of `error`; where it is at none of its own, as those behind. */
  end(error: unknown = behind()): void {
    if (this.#isGone) return;
    this.#isGone = true;
    clearTimeout(this.#clock);
    clearTimeout(this.#idle);
    this.#worker.unref();
    void this.#worker.terminate();
    for (const [i, asked] of this.#asked.splice(0).entries()) asked.reject(i ? behind() : error);
    this.#onEnd();
  }

  #answered(answer: Answer): void {
    if (this.#isGone) return;
    this.hasAnswered = true;
    clearTimeout(this.#clock);
    const asked = this.#asked.shift();
    if (this.#asked.length) this.#startClock();
    if (!asked?.isDropped) asked?.resolve(answer);
    else if ("failed" in answer && answer.isBroken) this.end();
    else if ("runs" in answer && (answer.isLeft || !asked.isEnd)) this.close();
  }

  /** The one that the worker is at ends with it: nothing else stops a decoder. */
  #drop(asked: Asked, reason: unknown): void {
    if (this.#asked[0] === asked) {
      this.end(reason);
      return;
    }
    asked.isDropped = true;
    asked.reject(reason);
  }

  #startClock(): void {
    const late = () => this.end(noAnswer("ANYMAL_LATE", `no answer for ${decodeLimits.answerMs / 1000} s`));
    this.#clock = setTimeout(late, decodeLimits.answerMs).unref(); // the worker keeps the process while somebody waits
  }
}

const behind = (): Error => noAnswer("ANYMAL_BEHIND", "the decoder's thread ended at an earlier sound");
const noAnswer = (code: string, message: string): Error => Object.assign(new Error(message), { code });

/** One listener for all that wait with a signal: Node.js takes more than ten for a leak, and says so. Gives what takes `stop` back. */
export function onAbort(signal: AbortSignal, stop: () => void): () => void {
  const all = stops.get(signal) ?? new Set();
  const aborted = () => {
    for (const one of [...all]) one();
  };
  if (!stops.has(signal)) {
    stops.set(signal, all);
    signal.addEventListener("abort", aborted, { once: true });
  }
  all.add(stop);
  return () => all.delete(stop);
}
const stops = new WeakMap<AbortSignal, Set<() => void>>();
