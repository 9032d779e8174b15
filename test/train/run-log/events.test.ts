// TensorBoard's own bytes: what its record writer made of the same events, and what RFC 3720 says of the checksum.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { crc32c } from "../../../lib/train/run-log/crc32c.js";
import { eventRecord, type TensorBoardEvent } from "../../../lib/train/run-log/event-file.js";
import { clockTime } from "../../../lib/train/run-log/log.js";

test("checksums are those of the RFC", () => {
  for (const [bytes, sum] of [
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    [Buffer.from("123456789"), 0xe3069283],
  ] as const)
    assert.is(crc32c(bytes), sum);
});

test("records are those of tensorboard 2.21, byte for byte", () => {
  const events: [TensorBoardEvent, string][] = [
    [{ wallTime: 1.5, fileVersion: "brain.Event:2" }, "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c"],
    [
      { wallTime: 1700000000.25, step: 300, scalars: { "train/loss": 0.1, "eval/exact": Number.NaN } },
      "34000000000000005e33175c0900001040fc54d94110ac022a260a110a0a747261696e2f6c6f737315cdcccc3d0a110a0a6576616c2f6578616374150000c07f825c77ab",
    ],
    [{ wallTime: 2, step: 2 ** 40 + 1, restart: true }, "14000000000000005e3d2915090000000000000040108180808080203a0208019502ca41"],
    [
      { wallTime: 3, step: 0, texts: { args: "größe" } },
      "3d000000000000006049f1ec0900000000000008402a320a300a11617267732f746578745f73756d6d6172794211080712041202080142076772c3b6c39f654a080a060a0474657874e37cc284",
    ],
  ];
  for (const [event, bytes] of events) assert.is(eventRecord(event).toString("hex"), bytes);
});

test("times are Python's", () => {
  for (const [seconds, text] of [
    [0.9, "0:00:00"],
    [80.7, "0:01:20"],
    [35_999, "9:59:59"],
    [86_400, "1 day, 0:00:00"],
    [180_184, "2 days, 2:03:04"],
    [-3, "0:00:00"],
  ] as const)
    assert.is(clockTime(seconds), text);
});

test.run();
