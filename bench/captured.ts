// Short calls timed as a model makes them: on a card recorded once as a graph, without a launch from the host for each; on the CPU one after the other.
import type { Device } from "../lib/index.js";
import { sampler } from "./contest.js";

export interface Sampled {
  /** Seconds of one call. */
  sample(): Promise<number>;
  [Symbol.dispose](): void;
}

/** `count`: calls after which each set of operands has had its turn. */
export async function capturedSampler(device: Device, enqueue: () => void, count = 1): Promise<Sampled> {
  if (device.name === "cpu") return { sample: await sampler(device, enqueue), [Symbol.dispose]: () => {} };
  const all = () => {
    for (let i = 0; i < count; ++i) enqueue();
  };
  all(); // what is allocated once is allocated outside of the capture
  const capture = device.capture(all);
  const sample = await sampler(device, () => capture.replay());
  return { sample: async () => (await sample()) / count, [Symbol.dispose]: () => capture.dispose() };
}
