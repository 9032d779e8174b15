// The first steps of stage 1 from a language model in a folder, by the way a user goes: AnyMAL.assemble in NF4, the tiny CLIP, a fresh resampler of 64
// tokens, align() over rows of 192 tokens; beside what plan() said of them. `--folder` takes a language model with a tokenizer; without it a small random one
// is made.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import sharp from "sharp";
import { AnyMAL, align, device } from "../../lib/index.js";
import { plan } from "../../lib/plan/plan.js";
import type { PlannedStage } from "../../lib/plan/report.js";
import { randomCheckpoint } from "../../tools/random-checkpoint/make.js";
import { digits, mebibytes, printHeader, printRow, type Row, type TableOptions } from "../suite.js";

const SMALL = { hidden: 768, intermediate: 2048, layers: 12, heads: 12, kvHeads: 12, vocabulary: 8192 };
const [LENGTH, LATENTS, STEPS] = [192, 64, 3];
const tiny = (name: string) => fileURLToPath(new URL(`../../models/tiny/${name}`, import.meta.url));

const WIDTHS = {
  step: 5,
  "load s": 7,
  "step s": 7,
  tokens: 7,
  "tokens/s": 9,
  loss: 7,
  "grad norm": 10,
  "model MiB": 10,
  "peak MiB": 9,
  "planned MiB": 12,
  "RSS MiB": 8,
};

export default async function alignStep({ folder, level, threads, fact }: TableOptions): Promise<Row[]> {
  const work = await mkdtemp(join(tmpdir(), "anymal-align-"));
  try {
    const llm = folder ?? join(work, "llm");
    if (folder === undefined) await randomCheckpoint(llm, { ...SMALL, tokenizer: tiny("llama") });
    const data = await captions(work);
    const on = { ...(level && { level }), ...(threads && { threads }) };
    const image = { encoder: tiny("clip"), projector: { type: "resampler", layers: 6, tokens: LATENTS } } as const;
    const parts = { llm, quantization: { format: "nf4", doubleQuant: true }, modalities: { image } } as const;
    const recipe = { data, steps: STEPS, batch: 1, maxLength: LENGTH };
    const [planned] = (await plan({ model: parts, align: { image: recipe } }, on)).stages as [PlannedStage];
    const d = device("cpu", on);
    const start = performance.now();
    await using model = await AnyMAL.assemble({ ...parts, device: d });
    await d.synchronize();
    fact?.("loading", { "peak MiB": mebibytes(d.memory().bytesPeak), "planned MiB": mebibytes(planned.bytes.loading) });
    d.resetPeak();
    const loaded = (performance.now() - start) / 1000;
    const weights = d.memory().bytesInUse;
    const rows: Row[] = [];
    printHeader(WIDTHS);
    let before = performance.now();
    for await (const { step, loss, gradNorm, tokens, memory } of align(model, { ...recipe, modality: "image" })) {
      const seconds = (performance.now() - before) / 1000;
      before = performance.now();
      const row: Row = {
        step,
        "load s": digits(loaded, 1),
        "step s": digits(seconds, 2),
        tokens,
        "tokens/s": digits(tokens / seconds, 1),
        loss: digits(loss, 3),
        "grad norm": digits(gradNorm, 3),
        "model MiB": mebibytes(weights),
        "peak MiB": mebibytes(memory.bytesPeak),
        "planned MiB": mebibytes(planned.bytes.peak),
        "RSS MiB": mebibytes(process.resourceUsage().maxRSS * 1024),
      };
      rows.push(row);
      printRow(row, WIDTHS);
    }
    return rows;
  } finally {
    await rm(work, { recursive: true });
  }
}

/** One picture and a caption that is longer than a row may be. */
async function captions(folder: string): Promise<string> {
  const size = 64;
  const pixels = Uint8Array.from({ length: 3 * size * size }, (_, i) => (i * 7) % 256);
  await sharp(pixels, { raw: { width: size, height: size, channels: 3 } }).toFile(join(folder, "picture.png"));
  const caption = Array.from({ length: 2 * LENGTH }, () => "red circle").join(" ");
  const file = join(folder, "captions.jsonl");
  await writeFile(file, `${JSON.stringify({ image: "picture.png", caption })}\n`);
  return file;
}
