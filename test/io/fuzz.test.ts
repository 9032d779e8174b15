// The readers of files against the first inputs of their fuzz targets; `npm run fuzz -- NAME` goes on from there.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Tensor } from "../../lib/core/tensor.js";
import { Attempts } from "../../tools/fuzz/attempt.js";
import { inputOf } from "../../tools/fuzz/input.js";
import type { Target } from "../../tools/fuzz/target.js";
import { TARGETS } from "../../tools/fuzz/targets/index.js";

const INPUTS = 500;
const SEED = 20260801;

async function fuzzed(target: Target, inputs: number): Promise<{ accepted: number; problem?: string }> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-fuzz-"));
  let accepted = 0;
  try {
    const attempts = new Attempts(target, join(folder, target.name));
    for (let i = 0; i < inputs; ++i) {
      const problem = await attempts.try(inputOf(target, SEED, i), (taken) => {
        accepted += Number(taken);
      });
      if (problem) return { accepted, problem: `${target.name}: input ${i} of seed ${SEED} ${problem}` };
    }
    return { accepted };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

for (const target of TARGETS) {
  test(`${target.name}: the seeds themselves are taken`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "anymal-fuzz-"));
    try {
      const attempts = new Attempts(target, join(folder, target.name));
      for (const [i, { bytes }] of target.seeds.entries()) {
        let taken = false;
        const problem = await attempts.try(bytes, (accepted) => {
          taken = accepted;
        });
        assert.is(problem, undefined, `seed ${i}`);
        if (target.name !== "csv") assert.ok(taken, `${target.name}: seed ${i} was refused`); // captions are no recording
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test(`${target.name}: ${INPUTS} inputs`, async () => {
    const { accepted, problem } = await fuzzed(target, INPUTS);
    assert.is(problem, undefined, problem);
    // Where all are refused at the door, or all are taken, nothing is tested.
    assert.ok(accepted > INPUTS / 50 && accepted < INPUTS - INPUTS / 50, `${accepted} of ${INPUTS} were taken`);
  });
}

test("a reader that throws what is no error of the library, leaves a tensor behind or takes too much memory is found", async () => {
  const seeds = [{ bytes: new Uint8Array(8), fields: [] }];
  const foreign = await fuzzed({ name: "foreign", seeds, run: (bytes) => void new Array(bytes.length && -1) }, 40);
  assert.match(foreign.problem ?? "", /not an error of this library: RangeError/);
  const kept: Tensor[] = [];
  const leaky = await fuzzed({ name: "leaky", seeds, run: () => void kept.push(Tensor.zeros([4])) }, 40);
  assert.match(leaky.problem ?? "", /left 1 tensors/);
  for (const tensor of kept) tensor.dispose();
  const held: Uint8Array[] = [];
  const greedy = await fuzzed({ name: "greedy", seeds, run: () => void held.push(new Uint8Array(100 << 20).fill(1)) }, 40);
  assert.match(greedy.problem ?? "", /took \d+ MiB of memory for a file of \d+ bytes/);
});

test.run();
