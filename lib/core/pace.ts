// Ops return at once, until the device's queue is full: then who enqueues is held until half of it has run, and the event loop with him. Whoever
// enqueues thousands of them on end keeps within sight of the device instead.
import type { Device } from "./device.js";
import { tensorsMade } from "./scope.js";
import { Tensor } from "./tensor.js";
import { type Pieces, Turns } from "./turns.js";

/** Tensors between two marks. At most two such stretches are ahead of the device; its queue holds 16 384 commands, an op and its dispose being two. */
const STRETCH = 2048;

interface Pace {
  /** Tensors that had been made when the last mark was set. */
  from: number;
  /** Settles when the device gets there. */
  mark: Promise<unknown>;
}
const paces = new WeakMap<Device, Pace>();

/** Undefined while the device is near; otherwise what to wait for. Never rejects: what fails is told where it is read. */
export function behind(device: Device): Promise<unknown> | undefined {
  const pace = paces.get(device);
  if (pace && tensorsMade() - pace.from < STRETCH) return undefined;
  const here = Tensor.zeros([1], { device });
  const mark = here.bytes().catch(() => undefined);
  here.dispose();
  paces.set(device, { from: tensorsMade(), mark });
  return pace?.mark;
}

/** Runs work that enqueues ops, in turns of the event loop and within sight of the device. */
export async function paced<T>(device: Device, work: Pieces<T>, sliceMs?: number): Promise<T> {
  const turns = new Turns(sliceMs);
  try {
    for (;;) {
      const { done, value } = work.next();
      if (done) return value;
      await behind(device);
      await turns.next();
    }
  } finally {
    work.return(undefined as T); // does nothing to work that has ended
  }
}
