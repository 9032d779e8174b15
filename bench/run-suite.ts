// One suite, and the record of it as it grows.
import { clockInUse } from "./clock.js";
import { type BenchRecord, commit, load, machine, SCHEMA } from "./record.js";
import type { Suite, SuiteOptions } from "./suite.js";

/** `keep` is given the record so far after each row, and at the end. */
export async function runSuite(
  name: string,
  options: SuiteOptions,
  command: string,
  keep: (record: BenchRecord) => void = () => {},
): Promise<BenchRecord> {
  const record: BenchRecord = {
    schema: SCHEMA,
    suite: name,
    machine: machine(),
    level: "",
    threads: 0,
    commit: commit(),
    date: new Date().toISOString(),
    command,
    seconds: 0,
    clock: clockInUse(),
    load: { before: load(), after: load() },
    peaks: {},
    rows: [],
  };
  const start = performance.now();
  const grown = (rows: BenchRecord["rows"]) => {
    record.rows = rows;
    record.seconds = Math.round((performance.now() - start) / 1000);
    record.load.after = load();
    // The demo opens no device here: its rows say where it ran.
    record.level ||= rows.at(-1)?.level ?? "";
    record.threads ||= rows.at(-1)?.more.threads ?? 0;
    keep(record);
  };
  const { default: suite } = (await import(`./suites/${name}.ts`)) as { default: Suite };
  const rows = await suite({
    ...options,
    row: grown,
    measured: (level, peaks, threads, device) => {
      record.device = device;
      record.peaks[level] = peaks;
      record.level = level; // they rise
      record.threads = threads;
    },
  });
  grown(rows);
  return record;
}
