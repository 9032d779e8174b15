// node-llama-cpp as a rival: `llama-rival.ts MODULE MODEL`, then requests as in process.ts: {"what": "prefill", "threads", "tokens"} is timed to the first
// token, {"what": "decode", "threads", "rows", "prompt", "steps"} per step of all rows, each of which goes in one batch.

import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { now } from "../clock.js";

type Input = number | [number, { generateNext: { token: boolean; options: { temperature: number } } }];
interface Sequence {
  controlledEvaluate(input: Input[]): Promise<({ next: { token?: number } } | undefined)[]>;
  eraseContextTokenRanges(ranges: { start: number; end: number }[]): Promise<void>;
  nextTokenIndex: number;
}
interface Context {
  getSequence(): Sequence;
  dispose(): Promise<void>;
}
interface Request {
  do: "prepare" | "sample" | "drop";
  id: number;
  what: "prefill" | "decode";
  threads: number;
  tokens: number;
  rows: number;
  prompt: number;
  steps: number;
}
interface Job {
  context: Context;
  sample(): Promise<number>;
}

const [module, file] = process.argv.slice(2) as [string, string];
const { getLlama } = await import(pathToFileURL(module).href);
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", progressLogs: false, maxThreads: 0 });
const model = await llama.loadModel({ modelPath: file });
const jobs = new Map<number, Job>();

const greedy = (token: number): Input => [token, { generateNext: { token: true, options: { temperature: 0 } } }];
const promptOf = (count: number, row: number): number[] => Array.from({ length: count }, (_, i) => 259 + ((i * 7919 + row * 31) % 1000));
/** The token that follows. */
async function read(sequence: Sequence, tokens: readonly number[]): Promise<number> {
  const out = await sequence.controlledEvaluate([...tokens.slice(0, -1), greedy(tokens.at(-1) as number)]);
  return out.at(-1)?.next.token ?? 0;
}
async function back(sequence: Sequence, to: number): Promise<void> {
  if (sequence.nextTokenIndex > to) await sequence.eraseContextTokenRanges([{ start: to, end: sequence.nextTokenIndex }]);
}

async function prefill({ threads, tokens }: Request): Promise<Job> {
  const context: Context = await model.createContext({ contextSize: tokens + 8, batchSize: tokens + 8, threads, sequences: 1 });
  const sequence = context.getSequence();
  const sample = async () => {
    await back(sequence, 0);
    const start = now();
    await read(sequence, promptOf(tokens, 0));
    return now() - start;
  };
  return { context, sample };
}

async function decode({ threads, rows, prompt, steps }: Request): Promise<Job> {
  const context: Context = await model.createContext({
    contextSize: prompt + steps + 8,
    batchSize: Math.max(512, rows),
    threads,
    sequences: rows,
  });
  const sequences = Array.from({ length: rows }, () => context.getSequence());
  for (const [row, sequence] of sequences.entries()) await read(sequence, promptOf(prompt, row));
  const sample = async () => {
    for (const sequence of sequences) await back(sequence, prompt);
    let tokens = sequences.map(() => 300);
    const times: number[] = [];
    for (let step = 0; step < steps; ++step) {
      const start = now();
      tokens = await Promise.all(sequences.map((sequence, row) => read(sequence, [tokens[row] as number])));
      times.push(now() - start);
    }
    return times.sort((a, b) => a - b)[Math.floor(steps / 2)] as number;
  };
  return { context, sample };
}

async function answer(request: Request): Promise<object> {
  if (request.do === "prepare") {
    const id = jobs.size;
    jobs.set(id, await (request.what === "decode" ? decode : prefill)(request));
    return { id };
  }
  const job = jobs.get(request.id) as Job;
  if (request.do === "sample") return { seconds: await job.sample() };
  await job.context.dispose();
  return {};
}

const { version } = JSON.parse((await import("node:fs")).readFileSync(new URL("../package.json", pathToFileURL(module)), "utf8"));
console.log(JSON.stringify({ name: "node-llama-cpp", version }));
for await (const line of createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await answer(JSON.parse(line)).catch((error: Error) => ({ error: `${error.message}` }))));
await llama.dispose();
