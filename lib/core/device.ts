// A device: one native queue that a thread of its own works off. Ops return at once; data is read back asynchronously.
import { expected } from "./errors.js";
import { native } from "./native.js";
import { warn } from "./notice.js";
import { checkOptions, optionNames } from "./options.js";
import { tensorsIn } from "./scope.js";

export interface DeviceOptions {
  /** CPU: threads of the pool; default: ANYMAL_THREADS, or the cores that the process may run on and its control group's quota pays for. */
  threads?: number;
  /** CPU: a dispatch level to force, "generic" | "avx2" | "avx512" | "avx512_bf16" | "amx"; default: the highest, or ANYMAL_CPU_LEVEL. */
  level?: string;
  /** CUDA: which card. */
  index?: number;
  /**
   * CUDA: kernels that all products with quantised weights must take, "tiles" | "skinny" | "panels" | "hopper", for who compares them: a product that they
   * cannot make fails. Default: the best for each shape.
   */
  path?: string;
  /**
   * Bytes that the device may hold from the system in all: tensors, what ops work in, and cached buffers. Beyond it an op fails with E_OUT_OF_MEMORY
   * and the breakdown, where without it the system might end the process. Default: none, or ANYMAL_MEMORY_LIMIT.
   */
  memoryLimit?: number;
}

export interface DeviceMemory {
  /** Bytes handed out to tensors and intermediates. */
  bytesInUse: number;
  /** Bytes that ops work in beside them; kept from one op to the next. */
  bytesScratch: number;
  /** High-water mark of bytesInUse and bytesScratch together since the device was opened or resetPeak(). */
  bytesPeak: number;
  /** Bytes held from the system: both, and buffers cached for the next tensors. */
  bytesReserved: number;
  /** What bytesReserved may not exceed, where a limit was given. */
  memoryLimit?: number;
  /** Tensors alive in this thread. */
  tensors: number;
}

/**
 * Where tensors are and ops run: "cpu", or a card. device() hands out the one of its name; openDevice() opens one of one's own, which close() ends.
 */
export class Device {
  #id: number | undefined;
  constructor(
    readonly name: string,
    id: number,
    private readonly forget: () => void,
  ) {
    this.#id = id;
  }

  /** The native device's number. */
  get id(): number {
    if (this.#id === undefined) throw expected("E_DISPOSED", `device "${this.name}"`, "an open device", "one that was closed");
    return this.#id;
  }

  /** One line for humans, e.g. "cpu: avx512_bf16, 2 threads". */
  describe(): string {
    return native().device_describe(this.id);
  }
  /** Resolves when all that was enqueued has run; rejects with the first error of it that nobody was told of by awaiting what depends on it. */
  synchronize(): Promise<void> {
    return native().device_synchronize(this.id);
  }
  /** Resolves when all that was enqueued has run, whatever became of it: unlike synchronize() it is told of no failure, which stays for whoever asks. */
  async idle(): Promise<void> {
    const n = native();
    const mark = n.tensor_create(this.id, 0, [0]);
    const read = n.tensor_read(mark);
    n.tensor_dispose(mark);
    await read;
  }
  memory(): DeviceMemory {
    return native().device_memory(this.id);
  }
  resetPeak(): void {
    native().device_reset_peak(this.id);
  }

  /**
   * What a benchmark calls 100 %, measured now with all threads: FLOP/s of matrix products in f32 or bf16, or bytes/s of memory. On a card products are
   * mma.sync's; bf16's of a device with the path "hopper" are those of Hopper's warp groups, 0 where the card has none.
   */
  peak(what: "f32" | "bf16" | "bandwidth"): Promise<number> {
    return native().device_peak(this.id, ["f32", "bf16", "bandwidth"].indexOf(what));
  }

  /**
   * Records the ops that `fn` enqueues, once, without running them; replay() runs them. Inside: no data from or to the host. Buffers made
   * inside belong to the capture; tensors that `fn` returns hold the result of the latest replay.
   */
  capture<T>(fn: () => T): Capture<T> {
    const n = native();
    const id = n.capture_begin(this.id);
    let result: T | undefined;
    let ended = false;
    try {
      result = fn();
      ended = true;
      return new Capture(id, result, n.capture_end(id));
    } catch (error) {
      // What went wrong first says more than what cannot be put away because of it.
      for (const tensor of tensorsIn(result)) if (!tensor.disposed) tensor.dispose();
      for (const away of [...(ended ? [] : [n.capture_end]), n.capture_dispose])
        try {
          away(id);
        } catch {}
      throw error;
    }
  }

  /** Finishes what is enqueued and frees everything on the device; its tensors are disposed. */
  async close(): Promise<void> {
    const id = this.id;
    this.#id = undefined;
    this.forget();
    await native().device_close(id);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#id !== undefined) await this.close();
  }
}

/**
 * Commands that Device.capture() recorded: replay() runs them again over the same memory, without a call of JavaScript for each. `result` is what
 * the recorded function returned.
 */
export class Capture<T> {
  #id: number | undefined;
  constructor(
    id: number,
    readonly result: T,
    /** How many commands a replay runs: on a card a launch of a kernel, or a few, each. */
    readonly commands: number,
  ) {
    this.#id = id;
  }
  replay(): void {
    native().capture_replay(this.#open());
  }
  dispose(): void {
    native().capture_dispose(this.#open());
    this.#id = undefined;
  }
  [Symbol.dispose](): void {
    if (this.#id !== undefined) this.dispose();
  }
  #open(): number {
    if (this.#id === undefined) throw expected("E_DISPOSED", "capture", "a capture that is alive", "one that was disposed");
    return this.#id;
  }
}

const DEVICE_OPTIONS = optionNames<DeviceOptions>({ threads: true, level: true, index: true, path: true, memoryLimit: true });
const open = new Map<string, Device>();
const opening = new Map<string, Promise<Device>>();
let toldFallback = false;

/**
 * The device of that name and options; the same object for the same arguments. "auto" takes CUDA where it works and the CPU elsewhere, and
 * says once why; asking for "cuda" and not getting it throws E_DEVICE with the reason. The thread waits until the device is open, which takes a card
 * some hundred milliseconds the first time: a server opens it with openDevice().
 */
export function device(name: "cpu" | "cuda" | "auto" | (string & {}) = "cpu", options: DeviceOptions = {}): Device {
  checkOptions("device", options, DEVICE_OPTIONS);
  if (name === "auto") {
    try {
      return device("cuda", cardOf(options));
    } catch (error) {
      tellFallback(error as Error);
      return device("cpu", options);
    }
  }
  const text = textOf(options);
  return open.get(keyOf(name, text)) ?? kept(name, text, native().device_open(name, text));
}

/** As device(), with the opening off JavaScript's thread: whatever loads a model by the name of a device opens it so. Rejects where device() throws. */
export async function openDevice(name: "cpu" | "cuda" | "auto" | (string & {}) = "cpu", options: DeviceOptions = {}): Promise<Device> {
  checkOptions("openDevice", options, DEVICE_OPTIONS);
  if (name === "auto") {
    try {
      return await openDevice("cuda", cardOf(options));
    } catch (error) {
      tellFallback(error as Error);
      return openDevice("cpu", options);
    }
  }
  const text = textOf(options);
  const key = keyOf(name, text);
  const known = open.get(key);
  if (known) return known;
  const begun = opening.get(key) ?? opened(name, text).finally(() => opening.delete(key));
  opening.set(key, begun);
  return begun;
}

async function opened(name: string, options: string): Promise<Device> {
  const id = await native().device_open_async(name, options);
  const meanwhile = open.get(keyOf(name, options));
  if (!meanwhile) return kept(name, options, id);
  await native().device_close(id);
  return meanwhile;
}

const cardOf = ({ index, path }: DeviceOptions): DeviceOptions => ({
  ...(index !== undefined && { index }),
  ...(path !== undefined && { path }),
});
const keyOf = (name: string, options: string): string => `${name}|${options}`;

function textOf(options: DeviceOptions): string {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  return given.map(([key, value]) => `${key}=${value}`).join(";");
}

function kept(name: string, options: string, id: number): Device {
  const key = keyOf(name, options);
  const made = new Device(name, id, () => open.delete(key));
  open.set(key, made);
  return made;
}

function tellFallback({ message }: Error): void {
  if (!toldFallback) warn("ANYMAL_CPU_FALLBACK", `${message}; running on the CPU`);
  toldFallback = true;
}

/** Where tensors go when no device is named: ANYMAL_DEVICE, or the CPU. */
export function defaultDevice(): Device {
  return device(defaultDeviceName());
}
export function defaultDeviceName(): string {
  return process.env.ANYMAL_DEVICE ?? "cpu";
}
