// Every op of the contract, at every dispatch level: GFLOP/s or GB/s, and the share of the time that the measured peaks allow at best
// (the longer of arithmetic and memory traffic: the roofline). Operands are larger than the caches where the op only moves data.
import { device } from "../../lib/index.js";
import { type OpCase, opCases } from "../op-cases.js";
import { OpRunner } from "../op-runner.js";
import { highestPeak, printRow, type Row, type SuiteOptions, secondsPerCall } from "../suite.js";

const LEVELS = ["generic", "avx2", "avx512", "avx512_bf16", "amx"];
const WIDTHS = { level: 11, op: 32, dtype: 5, shape: 34, microseconds: 12, "GFLOP/s": 8, "GB/s": 7, "% of peak": 9 };

function openLevels({ level, threads }: SuiteOptions) {
  const options = threads === undefined ? {} : { threads };
  const wanted = level ? [level] : LEVELS;
  return wanted.flatMap((name) => {
    try {
      return [{ name, device: device("cpu", { ...options, level: name }) }];
    } catch (error) {
      if (level) throw error;
      return []; // this machine lacks it
    }
  });
}

export default async function ops(options: SuiteOptions): Promise<Row[]> {
  const rows: Row[] = [];
  const chosen = (c: OpCase) => c.op.includes(options.filter);
  for (const { name, device: d } of openLevels(options)) {
    const peak = { f32: await highestPeak(d, "f32"), bf16: await highestPeak(d, "bf16"), bandwidth: await highestPeak(d, "bandwidth") };
    console.log(
      `${d.describe()}: measured peaks ${(peak.f32 / 1e9).toFixed(0)} GFLOP/s f32, ${(peak.bf16 / 1e9).toFixed(0)} bf16, ${(peak.bandwidth / 1e9).toFixed(1)} GB/s`,
    );
    printRow(Object.fromEntries(Object.keys(WIDTHS).map((key) => [key, key])), WIDTHS);
    for (const dtype of ["f32", "bf16"] as const) {
      for (const c of opCases(dtype).filter(chosen)) {
        if (c.only && c.only !== dtype) continue;
        using runner = new OpRunner(d, c);
        const seconds = await secondsPerCall(d, () => runner.enqueue());
        const floor = Math.max((c.flops ?? 0) / peak[c.arithmetic ?? dtype], runner.bytes / peak.bandwidth);
        const row: Row = {
          level: name,
          op: c.op,
          dtype,
          shape: c.shape,
          microseconds: Number((seconds * 1e6).toFixed(1)),
          "GFLOP/s": c.flops ? Number((c.flops / seconds / 1e9).toFixed(1)) : "",
          "GB/s": Number((runner.bytes / seconds / 1e9).toFixed(1)),
          "% of peak": Math.round((100 * floor) / seconds),
        };
        rows.push(row);
        printRow(row, WIDTHS);
      }
    }
    await d.close();
  }
  return rows;
}
