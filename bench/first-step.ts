// One training that ends after its first step, in a process of its own: `first-step.ts DATA OPTIONS` prints a FirstStep as its last line.
import { fileURLToPath } from "node:url";
import { AnyMAL, align, device } from "../lib/index.js";
import { now } from "./clock.js";

export interface FirstStep {
  seconds: number;
  /** By how much the process grew from before the data were opened: rows, their order, what was read ahead, and the step itself. */
  bytes: number;
}

const [data, options] = process.argv.slice(2) as [string, string];
const tiny = (name: string) => fileURLToPath(new URL(`../models/tiny/${name}`, import.meta.url));
const model = await AnyMAL.assemble({
  llm: tiny("llama"),
  device: device("cpu", JSON.parse(options)),
  quantization: "none",
  modalities: { image: { encoder: tiny("clip"), projector: { type: "linear" } } },
});
const before = process.memoryUsage.rss();
let most = before;
const look = setInterval(() => (most = Math.max(most, process.memoryUsage.rss())), 10);
const start = now();
for await (const { step } of align(model, { modality: "image", data, batch: 8, microBatch: 8, steps: 1000 })) if (step === 1) break;
const seconds = now() - start;
clearInterval(look);
const result: FirstStep = { seconds, bytes: Math.max(most, process.memoryUsage.rss()) - before };
console.log(JSON.stringify(result));
