// What the decoding worker does: one sound after the other, a message for each piece. Nothing here may load the addon, whose memory no limit of a worker holds.
import { parentPort } from "node:worker_threads";
import audioDecode from "audio-decode";
import { type Decoder, openDecoder, type SoundKind } from "./decoder.js";

export type Order = { open: SoundKind; scale: number } | { piece: Uint8Array<ArrayBuffer> | undefined } | { close: true };
export type Answer =
  | { opened: true }
  | { samples: Float32Array<ArrayBuffer>; sampleRate: number; channels: number }
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

async function answerTo(order: Exclude<Order, { close: true }>): Promise<Answer> {
  try {
    if ("open" in order) {
      decoder = await openDecoder(audioDecode, order.open, order.scale);
      return { opened: true };
    }
    if (!decoder) throw new Error("no decoder is open");
    return await decoder.next(order.piece);
  } catch (error) {
    const { message, code } = Object(error) as { message?: unknown; code?: unknown };
    const isBroken = error instanceof Error && /^(Range|Runtime)Error$/.test(error.name); // out of memory, or out of WebAssembly
    return { failed: typeof message === "string" ? message : String(error), code, isBroken };
  }
}

limitArrays();
// What decoders say of damaged files is told by the errors.
for (const method of ["error", "warn", "log"] as const) console[method] = () => {};

const port = parentPort;
port?.on("message", async (order: Order) => {
  if ("close" in order) {
    decoder?.close();
    decoder = undefined;
    return;
  }
  const answer = await answerTo(order);
  port.postMessage(answer, "samples" in answer ? [answer.samples.buffer] : []);
});
