// What only moves data, over operands that are larger than the caches: norms, gated activations, dropout, transposes and the optimisers, against memory,
// beside PyTorch where it has the op as one call. On a card calls are a graph, and AdamW also takes all the parameters of a LoRA on 70 billion.
import { capturedSampler } from "../captured.js";
import { contest, type Figures } from "../contest.js";
import { atEachLevel, type Place } from "../levels.js";
import { type OpCase, opCases } from "../op-cases.js";
import { OpRunner } from "../op-runner.js";
import { manyParameters } from "../optimiser-cases.js";
import type { SuiteOptions } from "../suite.js";

const OPS = [
  ...["rms_norm", "rms_norm_backward", "layer_norm", "layer_norm_backward", "gated_activation", "gated_activation_backward"],
  ...["activation", "activation_backward", "dropout", "copy", "cast", "add", "transpose_copy", "rope", "adamw", "adamw_8bit"],
  ...["softmax_cross_entropy", "softmax_cross_entropy_backward"],
];
const TURNS = 5;

/** What the goal is; below it a case is named again at the end. */
const GOAL = 0.6;

export default async function memory(options: SuiteOptions): Promise<Figures[]> {
  const rows = await atEachLevel(options, async (place, report) => {
    for (const dtype of ["bf16", "f32"] as const) {
      const many = place.device.name === "cpu" ? [] : manyParameters(options.size);
      const cases = [...opCases(dtype).filter(({ op }) => OPS.includes(op)), ...many].filter(({ only }) => !only || only === dtype);
      for (const c of cases) {
        const name = `${c.op}, ${dtype}, ${c.shape}`;
        if (name.includes(options.filter)) report(await measure(options, place, c, name));
      }
    }
  });
  sayBelow(rows, options.say ?? console.log);
  return rows;
}

function sayBelow(rows: readonly Figures[], say: (line: string) => void): void {
  const measured = rows.flatMap(({ share, level, case: name }) => (share === null ? [] : [{ share, level, name }]));
  const below = measured.filter(({ share }) => share < GOAL).sort((a, b) => a.share - b.share);
  if (measured.length) say(`below ${100 * GOAL} % of memory bandwidth: ${below.length} of ${measured.length}`);
  for (const { share, level, name } of below) say(`  ${(100 * share).toFixed(0).padStart(3)} %  ${level.padEnd(11)}  ${name}`);
}

async function measure(options: SuiteOptions, { device, level, peaks }: Place, c: OpCase, name: string): Promise<Figures[]> {
  using runner = new OpRunner(device, c);
  const { bytes } = runner;
  using ours = await capturedSampler(device, () => runner.enqueue());
  const torch = (await options.rivals?.torch(...askedFor(c))) ?? [];
  const told = {
    case: name,
    level,
    unit: "us",
    of: (seconds: number) => 1e6 * seconds,
    limit: { name: "memory bandwidth", seconds: bytes / peaks.bandwidth },
    more: (seconds: number) => ({ "GB/s": bytes / seconds / 1e9 }),
  };
  const each = torch.map((side) => [side]);
  const figures = await contest(told, () => ours.sample(), each, options.turns ?? TURNS, true);
  for (const side of torch) await side.drop();
  return figures;
}

/** A handle made on our device means nothing there. */
function askedFor({ op, args, beside }: OpCase): NonNullable<OpCase["beside"]> {
  if (beside) return beside;
  if (args.flat().some((arg) => typeof arg === "function")) return [];
  return [[{ what: "op", op, args: args.map((arg) => arg ?? null) }, ""]];
}
