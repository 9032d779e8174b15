// The library against the Python packages whose numbers and texts it claims, on cases made at random. Python is found at run time; no test needs it.
//   npm run differential -- templates --python ~/venv/bin/python --count 5000 --seed 7      PYTHON=… does for --python; without a name: the targets
//   … --material DIR     chat templates or tokenizers of a folder too
//   … --keep FILE        writes the cases that agree with Python's answers, as fixtures of the tests
//   … --scratch DIR      leaves the files of the cases there
// Prints counts and each disagreement; exits with 1 where one is not explained. What differs on purpose has a line of its own among the counts.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Random } from "../fuzz/random.js";
import { Oracle } from "./oracle.js";
import type { Target } from "./target.js";
import { adapters } from "./targets/adapters.js";
import { encoders } from "./targets/encoders.js";
import { models } from "./targets/models.js";
import { pictures } from "./targets/pictures.js";
import { rows } from "./targets/rows.js";
import { sounds } from "./targets/sounds.js";
import { splits } from "./targets/splits.js";
import { templates } from "./targets/templates.js";
import { tokenizers } from "./targets/tokenizers.js";

/** One file each in targets/, with its other side in python/. */
const TARGETS: readonly Target[] = [models, encoders, adapters, templates, tokenizers, splits, pictures, sounds, rows];
/** Cases on their way to Python at a time. */
const AT_ONCE = 64;
const MOST_SHOWN = 20;

function usage(problem: string): never {
  console.error(
    `${problem}\nusage: npm run differential -- NAME [--python PROGRAM] [--count N] [--seed S] [--material FOLDER] [--show N] [--keep FILE] [--scratch FOLDER]`,
  );
  for (const { name, needs } of TARGETS) console.error(`  ${name.padEnd(12)}Python with ${needs}`);
  process.exit(2);
}

function asked() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        python: { type: "string", default: process.env.PYTHON ?? "python3" },
        count: { type: "string", default: "1000" },
        seed: { type: "string", default: "1" },
        material: { type: "string" },
        show: { type: "string", default: String(MOST_SHOWN) },
        keep: { type: "string" },
        scratch: { type: "string" },
      },
    });
    const target = TARGETS.find(({ name }) => name === positionals[0]);
    if (!target || positionals.length !== 1) return usage("expected the name of a target");
    const [count, seed, show] = [values.count, values.seed, values.show].map(Number) as [number, number, number];
    if (![count, seed, show].every((n) => Number.isInteger(n) && n >= 0)) return usage("expected integers for --count, --seed and --show");
    return { ...values, target, count, seed, show };
  } catch (error) {
    return usage((error as Error).message);
  }
}

const { target, count, seed, show, python, material, keep, scratch: left } = asked();
const kept: unknown[] = [];
if (left !== undefined) mkdirSync(left, { recursive: true });
const scratch = left === undefined ? mkdtempSync(join(tmpdir(), "anymal-differential-")) : resolve(left);
const oracle = new Oracle(python, target.script);
const counts = new Map<string, number>();
const tally = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
let shown = 0;
let wrong = 0;
try {
  const cases = target.cases(new Random(seed), count, { material, scratch });
  for (let done = 0; done < count; ) {
    const batch: { index: number; input: unknown; theirs: Promise<unknown> }[] = [];
    while (batch.length < AT_ONCE && done + batch.length < count) {
      const { done: ended, value: input } = cases.next();
      if (ended) break;
      batch.push({ index: done + batch.length, input, theirs: oracle.ask(target.question?.(input) ?? input) });
    }
    if (!batch.length) break;
    for (const { index, input, theirs } of batch) {
      const verdict = await target.compare(input, await theirs, (question) => oracle.ask(question));
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
  if (left === undefined) rmSync(scratch, { recursive: true });
}
console.log(`${target.name}, seed ${seed}:`);
for (const [what, n] of [...counts].sort(([, a], [, b]) => b - a)) console.log(`  ${String(n).padStart(6)}  ${what}`);
console.log(wrong ? `${wrong} disagreements${shown > show ? `, ${show} of them shown` : ""}` : "no disagreement");
if (keep !== undefined) writeFileSync(keep, `[\n${kept.map((entry) => JSON.stringify(entry)).join(",\n")}\n]\n`);
process.exitCode = wrong ? 1 : 0;
