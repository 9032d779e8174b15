// What a device holds when nothing is still to be collected, so that a count afterwards tells of what came in between alone.
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { here } from "./case.js";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

/** The memory of the tests' device, behind all that was enqueued and without the tensors that earlier tests let go of. */
export async function memoryAtRest(): Promise<ReturnType<typeof here.memory>> {
  for (let round = 0; round < 2; ++round) {
    collectGarbage();
    await setImmediate(); // finalizers have a turn of their own
  }
  await here.synchronize();
  return here.memory();
}
