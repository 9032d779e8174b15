// The library against the Python packages whose numbers and texts it claims, on cases made at random. Python is found at run time; no test needs it.
//   npx tsx tools/differential/main.ts templates --python ~/venv/bin/python --count 5000 --seed 7
//   npx tsx tools/differential/main.ts templates --python ~/venv/bin/python --material DIR     chat templates of a folder too
//   … --keep FILE     writes the cases that agree with Python's answers, as fixtures of the tests
// Prints counts and each disagreement; exits with 1 where one is not explained.
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Random } from "../fuzz/random.js";
import { Oracle } from "./oracle.js";
import type { Target } from "./target.js";
import { templates } from "./targets/templates.js";
import { tokenizers } from "./targets/tokenizers.js";

/** One file each in targets/, with its other side in python/. */
const TARGETS: readonly Target[] = [templates, tokenizers];
/** Cases on their way to Python at a time. */
const AT_ONCE = 64;
const MOST_SHOWN = 20;

function usage(problem: string): never {
  console.error(
    `${problem}\nusage: npx tsx tools/differential/main.ts NAME [--python PROGRAM] [--count N] [--seed S] [--material FOLDER] [--show N] [--keep FILE]`,
  );
  console.error(`names: ${TARGETS.map(({ name, needs }) => `${name} (needs ${needs})`).join(", ")}`);
  process.exit(2);
}

function asked() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        python: { type: "string", default: "python3" },
        count: { type: "string", default: "1000" },
        seed: { type: "string", default: "1" },
        material: { type: "string" },
        show: { type: "string", default: String(MOST_SHOWN) },
        keep: { type: "string" },
      },
    });
    const target = TARGETS.find(({ name }) => name === positionals[0]);
    if (!target || positionals.length !== 1) return usage("expected the name of a target");
    const [count, seed, show] = [values.count, values.seed, values.show].map(Number) as [number, number, number];
    if (![count, seed, show].every((n) => Number.isInteger(n) && n >= 0)) return usage("expected integers for --count, --seed and --show");
    return { target, count, seed, show, python: values.python, material: values.material, keep: values.keep };
  } catch (error) {
    return usage((error as Error).message);
  }
}

const { target, count, seed, show, python, material, keep } = asked();
const kept: unknown[] = [];
const oracle = new Oracle(python, target.script);
const counts = new Map<string, number>();
const tally = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
let shown = 0;
let wrong = 0;
try {
  const cases = target.cases(new Random(seed), count, material);
  for (let done = 0; done < count; ) {
    const batch: { index: number; input: unknown; theirs: Promise<unknown> }[] = [];
    while (batch.length < AT_ONCE && done + batch.length < count) {
      const { done: ended, value: input } = cases.next();
      if (ended) break;
      batch.push({ index: done + batch.length, input, theirs: oracle.ask(target.question?.(input) ?? input) });
    }
    if (!batch.length) break;
    for (const { index, input, theirs } of batch) {
      const verdict = await target.compare(input, await theirs);
      tally(verdict.what);
      if (verdict.agrees) {
        if (keep !== undefined && verdict.keep) kept.push(verdict.keep);
        continue;
      }
      ++wrong;
      if (++shown <= show) console.log(`--- case ${index}: ${verdict.what}\n${verdict.details}`);
    }
    done += batch.length;
  }
} finally {
  oracle.end();
}
console.log(`${target.name}, seed ${seed}:`);
for (const [what, n] of [...counts].sort(([, a], [, b]) => b - a)) console.log(`  ${String(n).padStart(6)}  ${what}`);
console.log(wrong ? `${wrong} disagreements${shown > show ? `, ${show} of them shown` : ""}` : "no disagreement");
if (keep !== undefined) writeFileSync(keep, `[\n${kept.map((entry) => JSON.stringify(entry)).join(",\n")}\n]\n`);
process.exitCode = wrong ? 1 : 0;
