// A device on which everything is as on a CPU but the numbers: shapes are checked, memory is taken and given back in the same order and counted by the same
// allocator, and no op runs. It is a device that records and never replays: what it hands out has addresses and is never touched, so the system gives no
// page for it. What a training of a model of any size will hold is found by letting the very training run here.
import { Device } from "./device.js";
import { type Handle, intercept, type Native, native } from "./native.js";

/** Of a tensor: sizes, and the number of its dtype (f32, bf16, i32, u8). */
export interface DrySpec {
  shape: readonly number[];
  dtype: number;
}
/** Told of each op: its name, what it was called with, and what it gave. `spec` says of a handle what it is. */
export type DryObserver = (op: string, args: readonly unknown[], result: unknown, spec: (handle: Handle) => DrySpec) => void;

/** Told of captures, which do not nest here: what is replayed is what was recorded last. */
export type DryCaptures = (event: "begin" | "end" | "replay") => void;

interface Dry {
  capture: number;
  observe: DryObserver | undefined;
  captures: DryCaptures | undefined;
}
const dry = new Map<number, Dry>();

export interface DryOptions {
  /** As the CPU's: how weights are laid out follows from the level. */
  threads?: number;
  level?: string;
  onOp?: DryObserver;
  onCapture?: DryCaptures;
}

/** Its memory() is that of the device that it stands for, but for what ops compute in (bytesScratch is 0). close() ends it. */
export function openDry({ threads = 1, level, onOp, onCapture }: DryOptions = {}): Device {
  const options = [`threads=${threads}`, ...(level === undefined ? [] : [`level=${level}`]), `memoryLimit=${Number.MAX_SAFE_INTEGER}`];
  const n = native();
  const id = n.device_open("cpu", options.join(";"));
  dry.set(id, { capture: n.capture_begin(id), observe: onOp, captures: onCapture });
  if (dry.size === 1) intercept(dryNative);
  return new Device("cpu", id, () => undefined);
}

export const isDry = (device: Device): boolean => dry.has(device.id);

/** What is read from it: numbers that are neither all alike nor large, so that who measures them finds something, and ids that every table has. */
function pretended({ shape, dtype }: DrySpec): ArrayBuffer {
  const size = shape.reduce((a, b) => a * b, 1);
  if (dtype === 3) return new ArrayBuffer(size);
  if (dtype === 2) return new ArrayBuffer(4 * size);
  if (dtype === 1) return Uint16Array.from({ length: size }, (_, i) => (i % 2 ? 0xbf00 : 0x3f00)).buffer; // ±0.5
  return Float32Array.from({ length: size }, (_, i) => (i % 2 ? -0.5 : 0.5)).buffer;
}

function dryNative(real: Native): Native {
  const spec = (handle: Handle) => real.tensor_spec(handle);
  const of = (handle: Handle) => dry.get(spec(handle).device);
  /** Memory is taken when a first command asks for it, as it is for what arrives from the host. */
  const created = (device: number, dtype: number, shape: readonly number[]): Handle => {
    const handle = real.tensor_create(device, dtype, shape);
    real.fill(handle, 0);
    return handle;
  };
  const changed: Partial<Native> = {
    tensor_from: (device, dtype, shape, data) =>
      dry.has(device) ? created(device, dtype, shape) : real.tensor_from(device, dtype, shape, data),
    tensor_from_file: (device, dtype, shape, file, offset) =>
      dry.has(device) ? created(device, dtype, shape) : real.tensor_from_file(device, dtype, shape, file, offset),
    tensor_from_half: (device, dtype, shape, file, offset) =>
      dry.has(device) ? created(device, dtype, shape) : real.tensor_from_half(device, dtype, shape, file, offset),
    tensor_write: (tensor, data) => {
      if (!of(tensor)) real.tensor_write(tensor, data);
    },
    tensor_read: async (tensor) => {
      const at = spec(tensor);
      if (!dry.has(at.device)) return real.tensor_read(tensor);
      await real.device_synchronize(at.device);
      return pretended(at);
    },
    tensor_heal: (tensor) => {
      if (!of(tensor)) real.tensor_heal(tensor);
    },
    tensors_computed: async (tensors) => {
      if (!tensors.some(of)) return real.tensors_computed(tensors);
    },
    // One is recorded already, and they do not nest: what is to be replayed runs dry where it is recorded.
    capture_begin: (device) => {
      const own = dry.get(device);
      own?.captures?.("begin");
      return own ? -device : real.capture_begin(device);
    },
    capture_end: (capture) => {
      if (capture >= 0) return real.capture_end(capture);
      dry.get(-capture)?.captures?.("end");
      return 0;
    },
    capture_replay: (capture) => {
      if (capture >= 0) real.capture_replay(capture);
      else dry.get(-capture)?.captures?.("replay");
    },
    capture_dispose: (capture) => {
      if (capture >= 0) real.capture_dispose(capture);
    },
    device_close: async (device) => {
      const own = dry.get(device);
      if (!own) return real.device_close(device);
      real.capture_end(own.capture);
      real.capture_dispose(own.capture);
      dry.delete(device);
      if (!dry.size) intercept(undefined);
      await real.device_close(device);
    },
  };
  const watched = Object.entries(real).map(([name, call]) => {
    if (name in changed || !OP.test(name)) return [name, call];
    return [
      name,
      (...args: unknown[]) => {
        const result = call(...args);
        for (const { observe } of dry.values()) observe?.(name, args, result, spec);
        return result;
      },
    ];
  });
  return { ...Object.fromEntries(watched), ...changed } as Native;
}
const OP = /^(?!device_|capture_|file_|tensor_|tensors_|media_|packed_)/;
