// How many commands the steps have that generation records for itself.
import type { Device } from "../lib/core/device.js";

/** Of each capture that was made on the device while `run` went on, in their order. */
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
