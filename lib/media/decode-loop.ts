// What the decoding worker does: one sound after the other, a message for each piece. Nothing here may load the addon, whose memory no limit of a worker holds.
import { parentPort } from "node:worker_threads";
import audioDecode from "audio-decode";
import { type Decoder, type Given, type Input, openDecoder, type SoundKind } from "./decoder.js";
import { giveBack, keepInstances } from "./kept-instances.js";

/** What comes next of the sound that is open, or a sound to open with what is at hand of it; no answer is given to `close`. */
export type Order = (Input & { open?: { kind: SoundKind; scale: number } }) | { close: true };
export type Answer =
  | Given
  /** Another sound is still open. */
  | { isRefused: true }
  /** The thread answers no more where it `isBroken`. */
  | { failed: string; code: unknown; isBroken: boolean };

/** Bytes of one array. Decoders make room for what a frame's header names; such memory counts for no limit of a worker's. */
const MOST = 256 << 20;

function limitArrays(): void {
  for (const name of ["Float32Array", "Float64Array", "Int32Array", "Int16Array", "Uint8Array"] as const) {
    const made = globalThis[name] as unknown as { new (...given: unknown[]): object; BYTES_PER_ELEMENT: number };
    const limited: object = new Proxy(made, {
      construct(target, given, newTarget) {
        const length = given[0];
        if (typeof length === "number" && length * made.BYTES_PER_ELEMENT > MOST) throw new RangeError(`an array of ${length} numbers`);
        return Reflect.construct(target, given, newTarget === limited ? target : newTarget) as object;
      },
    });
    Object.defineProperty(globalThis, name, { value: limited, writable: true, configurable: true });
  }
}

let decoder: Decoder | undefined;
/** What was stopped in the middle is not used again: the thread will be ended, and those that stand behind begin anew in another. */
let isOver = false;

async function answerTo({ open, ...input }: Exclude<Order, { close: true }>): Promise<Answer> {
  if (open && decoder) return { isRefused: true };
  try {
    if (open) decoder = await openDecoder(audioDecode, open.kind, open.scale);
    if (!decoder) throw new Error("no decoder is open");
    return await decoder.next(input);
  } catch (error) {
    const { message, code } = Object(error) as { message?: unknown; code?: unknown };
    // Out of memory, or out of WebAssembly: a module that was stopped in the middle may be in any state, and the next sound would get the same one.
    const isOut = error instanceof Error && /^(Range|Runtime)Error$/.test(error.name);
    const isBroken = !close(false) || isOut;
    return { failed: typeof message === "string" ? message : String(error), code, isBroken };
  }
}

function close(isGood: boolean): boolean {
  try {
    decoder?.close();
  } catch {
    isGood = false;
  }
  decoder = undefined;
  return giveBack(isGood);
}

async function work(order: Order): Promise<void> {
  if (isOver) return;
  if ("close" in order) {
    close(true);
    return;
  }
  const answer = await answerTo(order);
  isOver = "failed" in answer && answer.isBroken;
  const runs = "runs" in answer ? answer.runs : [];
  port?.postMessage(
    answer,
    runs.map(({ samples }) => samples.buffer),
  );
  // Behind the answer: the sound does not wait for what the next one will need.
  if ("runs" in answer && order.isEnd && !answer.isLeft) close(true);
}

limitArrays();
keepInstances();
// What decoders say of damaged files is told by the errors.
for (const method of ["error", "warn", "log"] as const) console[method] = () => {};

const port = parentPort;
let last = Promise.resolve();
port?.on("message", (order: Order) => {
  last = last.then(() => work(order));
});
