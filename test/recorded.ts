// What a device and an encoder are asked for while something runs.
import type { Device } from "../lib/core/device.js";
import type { Encoder } from "../lib/models/encoder.js";

/** How many commands each capture has that was made on the device while `run` went on, in their order. */
export async function recordedCommands(device: Device, run: () => Promise<unknown>): Promise<number[]> {
  const recorded: number[] = [];
  const capture = device.capture.bind(device);
  device.capture = ((fn) => {
    const made = capture(fn);
    recorded.push(made.commands);
    return made;
  }) as Device["capture"];
  try {
    await run();
  } finally {
    device.capture = capture;
  }
  return recorded;
}

/** The list grows by the number of inputs of each forward, from now on. */
export function encodedTogether(encoder: Encoder): readonly number[] {
  const sizes: number[] = [];
  const forward = encoder.forward.bind(encoder);
  encoder.forward = (x, options) => {
    sizes.push(x.shape[0] as number);
    return forward(x, options);
  };
  return sizes;
}
