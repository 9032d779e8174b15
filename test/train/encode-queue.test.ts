// Media that wait for their encoder together: one that is at fault is told by itself, and an error of the device is everybody's.
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Features, MediaEncoder } from "../../lib/anymal/media-encoder.js";
import { AnymalError } from "../../lib/core/errors.js";
import type { EncoderInput } from "../../lib/media/part.js";
import { EncodeQueue } from "../../lib/train/encode-queue.js";

const input = (value: number, width = 2): EncoderInput => ({ data: Float32Array.of(value, value).subarray(0, width), shape: [1, width] });
/** Doubles what it is given; `fault` may throw. */
function encoding(fault: (values: readonly number[]) => void = () => {}) {
  const calls: number[][] = [];
  const encodeInputs = async (inputs: readonly EncoderInput[]): Promise<Features[]> => {
    const values = inputs.map(({ data }) => data[0] as number);
    calls.push(values);
    fault(values);
    return values.map((value) => ({ modality: "image", data: Float32Array.of(2 * value), shape: [1, 1] }));
  };
  return { calls, encoder: { encodeInputs } as unknown as MediaEncoder };
}
async function asked(encoder: MediaEncoder, inputs: readonly EncoderInput[]): Promise<(number | string)[]> {
  const queue = new EncodeQueue();
  const company = { coming: inputs.length };
  const all = inputs.map((one) => {
    const made = queue.add(encoder, one, company, {});
    --company.coming;
    void queue.look();
    return made;
  });
  return (await Promise.allSettled(all)).map((one) => (one.status === "fulfilled" ? (one.value.data[0] as number) : one.reason.code));
}

test("a company goes together, those of one form", async () => {
  const { calls, encoder } = encoding();
  assert.equal(await asked(encoder, [input(1), input(2, 1), input(3), input(4, 1)]), [2, 4, 6, 8]);
  assert.equal(calls, [
    [1, 3],
    [2, 4],
  ]);
});

test("one that is at fault is told alone, and the others are encoded", async () => {
  const { calls, encoder } = encoding((values) => {
    if (values.includes(2)) throw new AnymalError("E_VALUE", "no such value");
  });
  assert.equal(await asked(encoder, [input(1), input(2), input(3)]), [2, "E_VALUE", 6]);
  assert.equal(calls, [[1, 2, 3], [1], [2], [3]]);
});

test("an error of the device is not tried again", async () => {
  const { calls, encoder } = encoding(() => {
    throw new AnymalError("E_DEVICE", "gone");
  });
  assert.equal(await asked(encoder, [input(1), input(2)]), ["E_DEVICE", "E_DEVICE"]);
  assert.is(calls.length, 1);
});

test.run();
