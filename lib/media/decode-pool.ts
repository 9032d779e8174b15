// Threads that decode sounds: JavaScript's own is never held, an abort is heard while a decoder works, and one that does not come back is ended.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import type { Answer, Order } from "./decode-loop.js";
import type { Decoded, Decoder, SoundKind } from "./decoder.js";

/** At once; further sounds wait their turn. */
const MOST_WORKERS = 2;
/** How long one piece may take. A few KB are decoded in milliseconds, on a busy machine in a second. */
const PIECE_MS = 30_000;
/** How long a worker without work is kept. It keeps no process from its end. */
const IDLE_MS = 10_000;
/** Of JavaScript's heap, tables of a long film included. */
const HEAP_MB = 512;

const file = new URL("./decode-worker.mjs", import.meta.url);
let isThere: boolean | undefined;

interface Thread {
  worker: Worker;
  isGone?: boolean;
  /** It can run: what ends it is a sound. */
  hasAnswered?: boolean;
  idle?: NodeJS.Timeout;
}
const idle: Thread[] = [];
const waiting: ((thread: Thread | undefined) => void)[] = [];
let running = 0;

/** A decoder in a worker, or undefined where there can be none: bundled into one file, or workers not allowed. */
export async function openInWorker(kind: SoundKind, scale: number, signal: AbortSignal | undefined): Promise<Decoder | undefined> {
  const thread = await acquire(signal);
  if (!thread) return undefined;
  let isOver = false;
  const isUsed = thread.hasAnswered === true;
  const end = (how: (thread: Thread) => void): void => {
    if (!isOver) how(thread);
    isOver = true;
  };
  const close = (thread: Thread): void => {
    thread.worker.postMessage({ close: true } satisfies Order);
    release(thread);
  };
  const ask = async (order: Order, moved: ArrayBuffer[] = []): Promise<Exclude<Answer, { failed: string }>> => {
    let answer: Answer;
    try {
      answer = await answerOf(thread, order, moved, signal);
      thread.hasAnswered = true;
    } catch (error) {
      end(discard); // still at work, or gone
      if (signal?.aborted) throw error;
      // Ended by what an earlier sound left behind.
      if (isUsed && "open" in order) throw new IsSpent("the decoder's thread had ended", { cause: error });
      if (thread.hasAnswered || isExhausted(error)) throw error;
      throw new CannotRun("the decoder's thread does not run", { cause: error });
    }
    if (!("failed" in answer)) return answer;
    // A module that was stopped in the middle may be in any state, and the next sound would get the same one.
    end(answer.isBroken ? discard : close);
    throw Object.assign(new Error(answer.failed), { code: answer.code });
  };
  try {
    await ask({ open: kind, scale });
  } catch (error) {
    if (error instanceof IsSpent) return openInWorker(kind, scale, signal);
    if (!(error instanceof CannotRun)) throw error;
    isThere = false;
    return undefined;
  }
  return {
    next: async (piece) => (await ask({ piece }, piece ? [piece.buffer] : [])) as Decoded,
    close: () => end(close),
  };
}

class CannotRun extends Error {}
class IsSpent extends Error {}

/** What a decoder in a worker ran into, where it is no error of its own: its time, or its memory. */
export const isExhausted = (error: unknown): boolean =>
  ["ANYMAL_NO_ANSWER", "ERR_WORKER_OUT_OF_MEMORY"].includes((error as NodeJS.ErrnoException | undefined)?.code ?? "");
export const BUDGET = `${PIECE_MS / 1000} s and ${HEAP_MB} MB for each piece`;

function acquire(signal: AbortSignal | undefined): Promise<Thread | undefined> | Thread | undefined {
  const free = idle.pop();
  if (free) {
    clearTimeout(free.idle);
    free.worker.ref();
    return free;
  }
  if (running < MOST_WORKERS) return started();
  return new Promise((resolve, reject) => {
    const stop = () => {
      waiting.splice(waiting.indexOf(take), 1);
      reject(signal!.reason);
    };
    const heard = signal && onAbort(signal, stop);
    const take = (thread: Thread | undefined) => {
      heard?.();
      resolve(thread);
    };
    waiting.push(take);
  });
}

/** One listener for all that wait with a signal: Node.js takes more than ten for a leak, and says so. Gives what takes `stop` back. */
function onAbort(signal: AbortSignal, stop: () => void): () => void {
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

function started(): Thread | undefined {
  isThere ??= existsSync(fileURLToPath(file));
  if (!isThere) return undefined;
  try {
    const worker = new Worker(file, {
      name: "anymal-decode",
      resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
      // What says how a script on the command line is read would be taken for the worker's file.
      ...(process.execArgv.some((flag) => /^--(experimental-default|input)-type/.test(flag)) && { execArgv: [] }),
    });
    const thread: Thread = { worker };
    // Told to whoever waits for an answer; one that ends while it is idle is given to nobody any more.
    worker.on("error", () => {}).once("exit", () => discard(thread));
    ++running;
    return thread;
  } catch {
    isThere = false; // by a policy of the process
    return undefined;
  }
}

function release(thread: Thread): void {
  if (thread.isGone) return;
  const next = waiting.shift();
  if (next) {
    next(thread);
    return;
  }
  thread.worker.unref();
  idle.push(thread);
  thread.idle = setTimeout(() => discard(thread), IDLE_MS).unref();
}

function discard(thread: Thread): void {
  if (thread.isGone) return;
  thread.isGone = true;
  --running;
  clearTimeout(thread.idle);
  if (idle.includes(thread)) idle.splice(idle.indexOf(thread), 1);
  thread.worker.unref();
  void thread.worker.terminate();
  // Where no thread starts any more, all that wait go on without one.
  for (let next = waiting.shift(); next; next = waiting.shift()) {
    const another = started();
    next(another);
    if (another) return;
  }
}

function answerOf(thread: Thread, order: Order, moved: ArrayBuffer[], signal: AbortSignal | undefined): Promise<Answer> {
  const { worker, isGone } = thread;
  if (isGone) return Promise.reject(noAnswer("the decoder's thread ended"));
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      clearTimeout(clock);
      worker.off("message", answered).off("error", failed).off("exit", ended);
      signal?.removeEventListener("abort", aborted);
      act();
    };
    const answered = (answer: Answer) => settle(() => resolve(answer));
    const failed = (error: Error) => settle(() => reject(error));
    const ended = () => settle(() => reject(noAnswer("the decoder's thread ended")));
    const aborted = () => settle(() => reject(signal!.reason));
    const clock = setTimeout(() => settle(() => reject(noAnswer(`no answer for ${PIECE_MS / 1000} s`))), PIECE_MS);
    worker.on("message", answered).on("error", failed).on("exit", ended);
    signal?.addEventListener("abort", aborted, { once: true });
    worker.postMessage(order, moved);
  });
}

const noAnswer = (message: string): Error => Object.assign(new Error(message), { code: "ANYMAL_NO_ANSWER" });
