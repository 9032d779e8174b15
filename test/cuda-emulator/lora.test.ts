// LoRA beside a quantised weight on a card: what it launches beyond the same linear without, counted by the emulator over all paths of products; a
// row's bits; and a captured product, which finds the launch's counters as the first run did.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { device, noGrad, type Tensor as T } from "../../lib/index.js";
import { QuantizedWeight } from "../../lib/nn/quantized-weight.js";
import * as ops from "../../lib/ops/index.js";
import { random } from "../harness.js";
import { HOPPER, launches, said } from "./launches.js";
import { type Asked, drawn, linears } from "./lora-run.js";
import { bytes, replays } from "./replays.js";

function launchesNothingMore(paths: readonly string[], least?: number, card?: Record<string, string>): void {
  const [plain, lora] = [false, true].map((lora) => new Map(launches("lora-run.ts", { lora, least } satisfies Asked, card))) as [
    Map<string, number>,
    Map<string, number>,
  ];
  const rest = new Map(lora);
  rest.delete("lora_gradients_kernel");
  assert.equal(rest, plain, `${said(rest)}; without LoRA: ${said(plain)}`);
  assert.is(lora.get("lora_gradients_kernel"), linears(least));
  for (const path of paths) assert.ok(lora.has(path), path);
}

test("a linear with LoRA launches nothing more forward, and beside dx one kernel for the gradients of A and B", () =>
  launchesNothingMore(
    ["skinny", "skinny_int8", "panels", "four_bit", "eight_bit", "skinny_dx", "panels_dx", "quantized_dx"].map((path) => `${path}_kernel`),
  ));
test("nor do many rows on a Hopper card", () => launchesNothingMore(["product_kernel"], 257, HOPPER));

for (const dtype of ["bf16", "f32"] as const)
  test(`${dtype}: few rows have the bits that they have among others, and every replay has those of the first run`, async () => {
    const [inputs, outputs, rank, most] = [1088, 40, 20, 16];
    const d = device("emulated");
    const draw = random(9);
    using w = drawn(d, "f32", draw, outputs, inputs);
    const weight = QuantizedWeight.quantize(w, { format: "nf4", doubleQuant: true });
    using x = drawn(d, dtype, draw, 3 * most, inputs);
    using a = drawn(d, dtype, draw, rank, inputs);
    using b = drawn(d, dtype, draw, outputs, rank);
    const product = (rows: T) => noGrad(() => ops.linearQuantizedLora(rows, weight, a, b, { scaling: 0.5 }));
    const of = async (from: number, rows: number) => {
      using some = ops.sliceCopy(x, 0, from, rows);
      using y = product(some);
      return bytes(y);
    };
    const want = await of(0, most);
    for (const [from, rows] of [
      [0, 1],
      [3, 7],
      [6, 9],
    ] as const)
      assert.ok(
        (await of(from, rows)).equals(want.subarray((from * want.length) / most, ((from + rows) * want.length) / most)),
        `${rows} rows`,
      );
    using all = product(x);
    await replays(d, () => product(x), await bytes(all));
  });

test.run();
