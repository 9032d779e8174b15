// What a differential of media shares: Python makes the cases and says what it reads in them, a line of JSON each; here they are read too and held
// against that. Nothing of this is needed by the library or its tests.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";

/** "alike" and "both refuse" are agreement; all else says what differs. */
export type Verdict = string;

interface Count {
  alike: number;
  refused: number;
  others: number;
}

/** Runs tools/differential/NAME.py and gives each of its lines to `judge`. Ends the process with 1 where something differs. */
export async function compare<L extends { kind: string; path: string }>(name: string, judge: (line: L) => Promise<Verdict>): Promise<void> {
  const { values } = parseArgs({
    options: {
      python: { type: "string", default: "python3" },
      seed: { type: "string", default: "1" },
      cases: { type: "string", default: "300" },
      keep: { type: "boolean", default: false },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), `anymal-${name}-`));
  try {
    const script = fileURLToPath(new URL(`./${name}.py`, import.meta.url));
    const { stdout } = await promisify(execFile)(values.python, [script, folder, values.seed, values.cases], { maxBuffer: 2 ** 30 });
    const lines = stdout.split("\n").filter(Boolean);
    const counts = new Map<string, Count>();
    for (const text of lines) {
      const line = JSON.parse(text) as L;
      const verdict = await judge(line).catch((error: Error) => `threw ${error.stack}`);
      const count = counts.get(line.kind) ?? { alike: 0, refused: 0, others: 0 };
      counts.set(line.kind, count);
      if (verdict === "alike") ++count.alike;
      else if (verdict === "both refuse") ++count.refused;
      else {
        ++count.others;
        console.log(`${line.kind}: ${verdict} (${line.path})`);
      }
    }
    report(name, values.seed, counts);
    if ([...counts.values()].some(({ others }) => others)) process.exitCode = 1;
  } finally {
    if (!values.keep) rmSync(folder, { recursive: true });
  }
}

function report(name: string, seed: string, counts: ReadonlyMap<string, Count>): void {
  const sum = { alike: 0, refused: 0, others: 0 };
  for (const [kind, count] of [...counts].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const key of ["alike", "refused", "others"] as const) sum[key] += count[key];
    if (count.others) console.log(`${kind}: ${count.alike} alike, ${count.refused} refused by both, ${count.others} not`);
  }
  console.log(`${name}, seed ${seed}: ${sum.alike} alike, ${sum.refused} refused by both, ${sum.others} not, of ${counts.size} kinds`);
}
