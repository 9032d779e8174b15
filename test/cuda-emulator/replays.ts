// A product that is captured and run again.
import * as assert from "uvu/assert";
import type { Device, Tensor } from "../../lib/index.js";

export const bytes = async (y: Tensor) => Buffer.from((await y.data()).buffer);

/** Each replay has these bits. */
export async function replays(d: Device, product: () => Tensor, want: Buffer): Promise<void> {
  using step = d.capture(product);
  for (let i = 0; i < 3; ++i) {
    step.replay();
    assert.ok((await bytes(step.result)).equals(want), `replay ${i}`);
  }
  step.result.dispose();
}
