// Threads that decode sounds: JavaScript's own is never held, an abort is heard while a decoder works, and one that does not come back is ended.
import { existsSync } from "node:fs";
import type { Answer } from "./decode-loop.js";
import { DecodeThread, decodeLimits, onAbort, workerFile } from "./decode-thread.js";
import type { Decoder, Given, Input, SoundKind } from "./decoder.js";

/** At once; further sounds wait their turn. */
const MOST_WORKERS = 2;
/** Short sounds that a worker has at once: it goes on to the next while JavaScript's thread is busy with the last. */
const AHEAD = 4;
/** Of one sound, in threads that end under it. */
const TRIES = 4;

interface Waiting {
  /** All of it is at hand, so that it may stand behind another sound. */
  isWhole: boolean;
  take(thread: DecodeThread | undefined): void;
}
const threads: DecodeThread[] = [];
const waiting: Waiting[] = [];
let isThere: boolean | undefined;

/**
 * A decoder in a worker, which has the sound from the first input on; or what `here` opens, where there can be no worker: bundled into one file, or
 * not allowed.
 */
export function decoderInWorker(kind: SoundKind, scale: number, signal: AbortSignal | undefined, here: () => Promise<Decoder>): Decoder {
  let instead: Decoder | undefined;
  let thread: DecodeThread | undefined;
  /** The thread has more of this sound to do, or is free for another. */
  const heard = (from: DecodeThread, answer: Given | Failed, isEnd: boolean): Given => {
    const goesOn = "runs" in answer && (answer.isLeft || !isEnd);
    if ("failed" in answer && answer.isBroken) from.end();
    if (goesOn) from.isHeld = true;
    else release(from, thread === from || !isEnd);
    thread = goesOn ? from : undefined;
    if ("failed" in answer) throw Object.assign(new Error(answer.failed), { code: answer.code });
    return answer;
  };
  const first = async (input: Input): Promise<Given> => {
    for (let tries = 1; ; ) {
      const taken = await acquire(input.isEnd, signal);
      if (!taken) {
        instead = await here();
        return instead.next(input);
      }
      const isUsed = taken.hasAnswered;
      let answer: Answer;
      try {
        // A copy goes, for it may have to go again.
        answer = await taken.ask({ open: { kind, scale }, ...input }, signal);
      } catch (error) {
        release(taken, !input.isEnd);
        if (signal?.aborted) throw signal.reason; // whichever sound it ended at
        if (codeOf(error) === "ANYMAL_BEHIND") continue;
        // Ended by what an earlier sound left behind, or by itself.
        if (isUsed && codeOf(error) === "ANYMAL_NO_ANSWER" && tries++ < TRIES) continue;
        if (taken.hasAnswered || isExhausted(error)) throw error;
        isThere = false; // it does not run
        continue;
      }
      if (!("isRefused" in answer)) return heard(taken, answer, input.isEnd);
      release(taken, !input.isEnd);
    }
  };
  return {
    next: async (input) => {
      if (instead) return instead.next(input);
      if (!thread) return first(input);
      const held = thread;
      const moved = input.parts.map(({ bytes }) => bytes.buffer as ArrayBuffer);
      try {
        return heard(held, (await held.ask(input, signal, moved)) as Given | Failed, input.isEnd);
      } catch (error) {
        if (thread) release(thread, true);
        thread = undefined;
        throw error;
      }
    },
    close: () => {
      instead?.close();
      thread?.close();
      if (thread) release(thread, true);
      thread = undefined;
    },
  };
}

type Failed = Extract<Answer, { failed: string }>;
const codeOf = (error: unknown): unknown => (error as NodeJS.ErrnoException | undefined)?.code;

/** What a decoder in a worker ran into, where it is no error of its own: its time, or its memory. */
export const isExhausted = (error: unknown): boolean =>
  ["ANYMAL_NO_ANSWER", "ANYMAL_LATE", "ERR_WORKER_OUT_OF_MEMORY"].includes(String(codeOf(error)));
export const budget = (): string => `${decodeLimits.answerMs / 1000} s and ${decodeLimits.heapMb} MB for each piece`;

function acquire(isWhole: boolean, signal: AbortSignal | undefined): Promise<DecodeThread | undefined> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      waiting.splice(waiting.indexOf(mine), 1);
      reject(signal!.reason);
    };
    const unheard = signal && onAbort(signal, stop);
    const mine: Waiting = {
      isWhole,
      take: (thread) => {
        unheard?.();
        resolve(thread);
      },
    };
    waiting.push(mine);
    dispatch();
  });
}

function release(thread: DecodeThread, wasHeld: boolean): void {
  if (wasHeld) thread.isHeld = false;
  thread.release();
  dispatch();
}

/** In the order in which they came. */
function dispatch(): void {
  for (let next = waiting[0]; next; next = waiting[0]) {
    const thread = threadFor(next.isWhole);
    if (thread === "later") return;
    waiting.shift();
    thread?.take();
    if (thread && !next.isWhole) thread.isHeld = true;
    next.take(thread);
  }
}

function threadFor(isWhole: boolean): DecodeThread | "later" | undefined {
  const idle = threads.find(({ taken }) => taken === 0) ?? started();
  if (idle || !isThere) return idle;
  const able = isWhole ? threads.filter(({ isHeld, taken }) => !isHeld && taken < AHEAD) : [];
  return able.reduce<DecodeThread | "later">((least, one) => (least !== "later" && least.taken <= one.taken ? least : one), "later");
}

function started(): DecodeThread | undefined {
  isThere ??= existsSync(workerFile);
  if (!isThere || threads.length >= MOST_WORKERS) return undefined;
  try {
    const thread = new DecodeThread((ended) => {
      threads.splice(threads.indexOf(ended), 1);
      dispatch();
    });
    threads.push(thread);
    return thread;
  } catch {
    isThere = false; // by a policy of the process
    return undefined;
  }
}
