// One input against one reader, and what must hold: only errors of this library escape, memory and time are bounded, nothing is left on the device.
import { writeFileSync } from "node:fs";
import { defaultDevice } from "../../lib/core/device.js";
import type { Target } from "./target.js";

/** Processor time of all threads, so that a busy machine is no finding. */
const MOST_SECONDS = 2;
/** Beyond this, and a multiple of the file, an input may not cost memory. */
const MOST_BYTES = 64 * 2 ** 20;
const BYTES_PER_BYTE = 64;

export class Attempts {
  readonly #rss = process.memoryUsage.rss();
  #idle: { tensors: number; bytesInUse: number } | undefined; // the device before the first input

  constructor(
    private readonly target: Target,
    /** Where the input is written before it is read. */
    private readonly path: string,
  ) {}

  /** What is wrong, or undefined. `taken` hears whether the reader took the file. */
  async try(bytes: Uint8Array, taken: (accepted: boolean) => void = () => {}): Promise<string | undefined> {
    writeFileSync(this.path, bytes);
    const device = defaultDevice();
    if (!this.#idle) {
      await this.target.prepare?.(this.path);
      await device.synchronize();
      this.#idle = device.memory();
    }
    const before = this.#idle;
    device.resetPeak();
    const cpu = process.cpuUsage();
    const rss = process.memoryUsage.rss();
    let accepted = false;
    try {
      await this.target.run(bytes, this.path);
      accepted = true;
    } catch (error) {
      const foreign = foreignError(error);
      if (foreign) return foreign;
    }
    try {
      await device.synchronize(); // a reader that threw may have reads under way, and the next input takes the file's place
    } catch (error) {
      const foreign = foreignError(error);
      if (foreign) return foreign;
    }
    const { user, system } = process.cpuUsage(cpu);
    const seconds = (user + system) / 1e6;
    const { mostSeconds = MOST_SECONDS, mostBytes = MOST_BYTES } = this.target;
    if (seconds > mostSeconds) return `took ${seconds.toFixed(1)} s of processor time, more than ${mostSeconds}`;
    const after = device.memory();
    const limit = mostBytes + BYTES_PER_BYTE * bytes.length;
    if (after.tensors !== before.tensors || after.bytesInUse !== before.bytesInUse)
      return `left ${after.tensors - before.tensors} tensors and ${after.bytesInUse - before.bytesInUse} bytes on the device`;
    if (after.bytesPeak - before.bytesInUse > limit) return `took ${mib(after.bytesPeak - before.bytesInUse)} on the device`;
    const grown = process.memoryUsage.rss() - rss;
    if (grown > limit) return `took ${mib(grown)} of memory for a file of ${bytes.length} bytes`;
    // Slow growth is no input's own.
    if (process.memoryUsage.rss() - this.#rss > 16 * MOST_BYTES) return `memory has grown by ${mib(16 * MOST_BYTES)} since the first input`;
    taken(accepted);
    return undefined;
  }
}

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(0)} MiB`;

/** An error that is none of this library's: those carry a code like E_SAFETENSORS and say what was expected and what was got. */
function foreignError(error: unknown): string | undefined {
  const { code, message, stack } = (error ?? {}) as { code?: unknown; message?: string; stack?: string };
  if (typeof code !== "string" || !/^E_[A-Z]/.test(code)) return `not an error of this library: ${stack ?? String(error)}`;
  if (!message || message.length > 4000) return `${code} with ${message?.length ?? "no"} characters of message`;
  return undefined;
}
