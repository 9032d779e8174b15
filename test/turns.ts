// What JavaScript does between two turns of the event loop, counted: how often blocks of the library's code and its packages' run, how much text goes
// through JSON.parse, how many ops are enqueued. Counts are the same on any machine, where milliseconds are not.
import { Session } from "node:inspector";
import { native } from "../lib/core/native.js";
import { slice } from "../lib/core/turns.js";

// From the start of the process: V8 counts the blocks of those functions that it compiles from then on, which it does at their first call.
const session = new Session();
session.connect();
function post<R>(method: string, parameters: object = {}): R {
  let answer: R | undefined;
  session.post(method, parameters, (error, result) => {
    if (error) throw error;
    answer = result as R;
  });
  return answer as R;
}
post("Profiler.enable");
post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });

export interface Work {
  /** Blocks of code: a loop's body once per round. */
  blocks: number;
  /** Characters of JSON. */
  json: number;
  /** Calls of the addon. */
  calls: number;
}
export interface Turn extends Work {
  /** Where most blocks ran. */
  where: string;
}
export interface Counted<T> {
  value: T;
  turns: number;
  /** The most of each that one turn did, whichever turn that was; `where` of the blocks. */
  most: Turn;
}

interface Coverage {
  result: { url: string; functions: { functionName: string; ranges: { count: number }[] }[] }[];
}
const OURS = /\/(lib|node_modules)\//;

/** Runs `work` with a turn for each of its pieces, and looks at every turn. Run it once before: what is done once for all does not count. */
export async function perTurn<T>(work: () => Promise<T>): Promise<Counted<T>> {
  const counts = { json: 0, calls: 0 };
  const restore = [countJson(counts), countCalls(counts)];
  const most: Turn = { blocks: 0, json: 0, calls: 0, where: "" };
  let turns = 0;
  const look = () => {
    ++turns;
    const { blocks, where } = blocksOf(post<Coverage>("Profiler.takePreciseCoverage"));
    if (blocks > most.blocks) Object.assign(most, { blocks, where });
    for (const key of ["json", "calls"] as const) {
      most[key] = Math.max(most[key], counts[key]);
      counts[key] = 0;
    }
  };
  const before = slice.ms;
  slice.ms = 0;
  let running = true;
  try {
    post("Profiler.takePreciseCoverage"); // counts from zero
    const watching = (async () => {
      while (running) {
        await new Promise<void>((resolve) => setImmediate(resolve));
        look();
      }
    })();
    const value = await work().finally(() => (running = false));
    await watching;
    return { value, turns, most };
  } finally {
    slice.ms = before;
    for (const undo of restore) undo();
  }
}

function blocksOf({ result }: Coverage): { blocks: number; where: string } {
  let [blocks, highest, where] = [0, 0, ""];
  for (const { url, functions } of result) {
    if (!OURS.test(url)) continue;
    for (const { functionName, ranges } of functions) {
      const own = ranges.reduce((sum, { count }) => sum + count, 0);
      blocks += own;
      if (own > highest) [highest, where] = [own, `${functionName} of ${url.split("/").slice(-2).join("/")}: ${own}`];
    }
  }
  return { blocks, where };
}

function countJson(counts: { json: number }): () => void {
  const { parse } = JSON;
  JSON.parse = (text: string, ...rest: []) => {
    counts.json += text.length;
    return parse(text, ...rest);
  };
  return () => {
    JSON.parse = parse;
  };
}

function countCalls(counts: { calls: number }): () => void {
  const surface = native() as unknown as Record<string, unknown>;
  const plain = { ...surface };
  for (const [name, value] of Object.entries(plain))
    if (typeof value === "function")
      surface[name] = (...given: unknown[]) => {
        ++counts.calls;
        return value.apply(surface, given);
      };
  return () => void Object.assign(surface, plain);
}
