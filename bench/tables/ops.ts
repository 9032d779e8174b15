// Every op of the contract, at every dispatch level of the CPU or on another device: GFLOP/s or GB/s, and the share of the time that the measured
// peaks allow at best (the longer of arithmetic and memory traffic: the roofline). Operands are larger than the caches where the op only moves
// data. On a GPU the calls are captured in one graph over several sets of operands, twice its cache together, so that none finds its own there; on the
// CPU what a model reads once per token goes round so.
//   --rival PYTHON: PyTorch's time beside ours, taken in turns
import { type Device, device } from "../../lib/index.js";
import { type OpCase, opCases } from "../op-cases.js";
import { OpRunner } from "../op-runner.js";
import { Rival } from "../rival.js";
import {
  cacheBytes,
  copiesPast,
  highestPeak,
  median,
  printRow,
  type Row,
  secondsPerCall,
  type TableOptions,
  warpGroupPeak,
} from "../suite.js";

const LEVELS = ["generic", "avx2", "avx512", "avx512_bf16", "amx"];
const WIDTHS = { level: 11, op: 32, dtype: 5, shape: 34, microseconds: 12, "GFLOP/s": 8, "GB/s": 7, "% of peak": 9 };
const RIVAL = { "rival µs": 12, "rival/ours": 10 };
const TURNS = 3;
/** cuda/peak.cu: an honest share needs to say of what. */
const PEAK_OF_A_GPU =
  "of mma.sync (m16n8k16 from registers); f32 is bf16's over six, the products that it takes here; wgmma: of Hopper's warp groups, which shares are not of";

function openDevices({ level, threads, device: name }: TableOptions): { name: string; device: Device }[] {
  if (name !== "cpu") return [{ name, device: device(name) }];
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

/** Ours, and a rival's in turn with it. */
async function time(
  d: Device,
  c: OpCase,
  rival: Rival | undefined,
  cache: number,
): Promise<{ seconds: number; theirs: number | undefined; bytes: number; copies: number }> {
  const runners = [new OpRunner(d, c)];
  const { bytes } = runners[0] as OpRunner;
  const copies = d.name === "cpu" && !c.cold ? 1 : copiesPast(cache, bytes);
  while (runners.length < copies) runners.push(new OpRunner(d, c));
  const all = () => {
    for (const runner of runners) runner.enqueue();
  };
  all(); // what is allocated once is allocated outside of the capture
  const capture = d.name === "cpu" ? undefined : d.capture(all);
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let turn = 0; turn < (rival ? TURNS : 1); ++turn) {
    ours.push((await secondsPerCall(d, capture ? () => capture.replay() : all, 0.02, rival ? 3 : 7)) / copies);
    const other = await rival?.time(c, d.name === "cpu" ? "cpu" : "cuda", copies, 0.1);
    if (other !== undefined) theirs.push(other);
  }
  capture?.dispose();
  for (const runner of runners) runner[Symbol.dispose]();
  return { seconds: median(ours), theirs: theirs.length ? median(theirs) : undefined, bytes, copies };
}

export default async function ops(options: TableOptions): Promise<Row[]> {
  const rows: Row[] = [];
  const chosen = (c: OpCase) => c.op.includes(options.filter);
  const rival = options.rival === undefined ? undefined : await Rival.start(options.rival, options.threads);
  const widths = rival ? { ...WIDTHS, ...RIVAL } : WIDTHS;
  for (const { name, device: d } of openDevices(options)) {
    const cache = cacheBytes(d);
    const peak = { f32: await highestPeak(d, "f32"), bf16: await highestPeak(d, "bf16"), bandwidth: await highestPeak(d, "bandwidth") };
    const wgmma = d.name === "cpu" ? {} : { wgmma: await warpGroupPeak(d.name) };
    console.log(
      `${d.describe()}: measured peaks ${(peak.f32 / 1e9).toFixed(0)} GFLOP/s f32, ${(peak.bf16 / 1e9).toFixed(0)} bf16, ${(peak.bandwidth / 1e9).toFixed(1)} GB/s`,
    );
    if (d.name !== "cpu") console.log(`these peaks are ${PEAK_OF_A_GPU}`);
    console.log(`last-level cache: ${Math.round(cache / 2 ** 20)} MiB`);
    options.fact?.(name, {
      device: d.describe(),
      peak: { ...peak, ...wgmma },
      ...(d.name !== "cpu" && { peakOf: PEAK_OF_A_GPU }),
      cacheBytes: cache,
    });
    if (rival) console.log(`rival: ${rival.name}`);
    if (rival) options.fact?.("rival", rival.name);
    printRow(Object.fromEntries(Object.keys(widths).map((key) => [key, key])), widths);
    for (const dtype of ["f32", "bf16"] as const) {
      for (const c of opCases(dtype).filter(chosen)) {
        if (c.only && c.only !== dtype) continue;
        const before = options.measured?.({ level: name, op: c.op, dtype, shape: c.shape });
        if (before) {
          rows.push(before);
          printRow(before, widths);
          continue;
        }
        const { seconds, theirs, bytes, copies } = await time(d, c, rival, cache);
        const floor = Math.max((c.flops ?? 0) / peak[c.arithmetic ?? dtype], bytes / peak.bandwidth);
        const row: Row = {
          level: name,
          op: c.op,
          dtype,
          shape: c.shape,
          microseconds: Number((seconds * 1e6).toFixed(1)),
          "GFLOP/s": c.flops ? Number((c.flops / seconds / 1e9).toFixed(1)) : "",
          "GB/s": Number((bytes / seconds / 1e9).toFixed(1)),
          "% of peak": Math.round((100 * floor) / seconds),
          copies,
        };
        if (theirs !== undefined) {
          row["rival µs"] = Number((theirs * 1e6).toFixed(1));
          row["rival/ours"] = Number((theirs / seconds).toFixed(2));
        }
        rows.push(row);
        printRow(row, widths);
        options.row?.(rows);
      }
    }
    await d.close();
  }
  rival?.close();
  return rows;
}
