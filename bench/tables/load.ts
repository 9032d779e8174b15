// Loading a checkpoint into each form: bytes of the files per second, and the most memory on the way. Each load runs in a process of its own, so that
// its peak is its own. `bound` is what loading may take at most: the loaded model and two of its largest tensors.
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { randomCheckpoint } from "../../tools/random-checkpoint/make.js";
import type { LoadResult } from "../load-once.js";
import { digits, mebibytes, printHeader, printRow, type Row, type TableOptions } from "../suite.js";

const FORMS = ["nf4", "nf4+dq", "fp4", "int8", "none"];
/** 200 M parameters, 0.4 GB in four files: enough that the largest tensor is small beside the model. */
const SMALL = { hidden: 1024, intermediate: 2816, layers: 14, heads: 16, kvHeads: 16, vocabulary: 8192, shardBytes: 120e6 };

const WIDTHS = {
  form: 7,
  dtype: 5,
  "file GB": 8,
  seconds: 8,
  "GB/s": 6,
  "model MiB": 10,
  "peak MiB": 9,
  "bound MiB": 10,
  "RSS MiB": 8,
  "of it before": 13,
  "stall ms": 9,
};

export default async function load({ filter, folder, level, threads }: TableOptions): Promise<Row[]> {
  const made = folder === undefined ? await mkdtemp(join(tmpdir(), "anymal-load-")) : undefined;
  try {
    if (made) await randomCheckpoint(made, SMALL);
    printHeader(WIDTHS);
    const rows: Row[] = [];
    for (const form of FORMS) {
      if (!form.includes(filter)) continue;
      const row = rowOf(form, await once(folder ?? (made as string), form, { level, threads }));
      rows.push(row);
      printRow(row, WIDTHS);
    }
    return rows;
  } finally {
    if (made) await rm(made, { recursive: true });
  }
}

async function once(
  folder: string,
  form: string,
  options: { level: string | undefined; threads: number | undefined },
): Promise<LoadResult> {
  const file = fileURLToPath(new URL("../load-once.ts", import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ["--import", "tsx", file, folder, form, JSON.stringify(options)]);
  return JSON.parse(stdout.trim().split("\n").at(-1) as string) as LoadResult;
}

function rowOf(form: string, r: LoadResult): Row {
  return {
    form,
    dtype: r.dtype,
    "file GB": digits(r.fileBytes / 1e9, 2),
    seconds: digits(r.seconds, 2),
    "GB/s": digits(r.fileBytes / 1e9 / r.seconds, 2),
    "model MiB": mebibytes(r.bytesInUse),
    "peak MiB": mebibytes(r.bytesPeak),
    "bound MiB": mebibytes(r.bytesInUse + 2 * r.largestTensor),
    "RSS MiB": mebibytes(r.rssPeak),
    "of it before": mebibytes(r.rssBefore),
    "stall ms": digits(r.stallMs, 0),
  };
}
