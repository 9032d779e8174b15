// `anymal replay`: a run once more, beside what it has logged.
import { type Command, Option } from "commander";
import type { ReplayReport } from "../train/replay/replay.js";
import { perModality } from "./flags.js";
import { KINDS_FLAG, ownKinds } from "./kinds.js";
import { command, EXIT, Interrupt, integer, list, print, printJson } from "./output.js";

interface ReplayFlags {
  until?: number;
  data?: string[];
  llm?: string;
  encoder?: Readonly<Record<string, string>>;
  device?: string;
  cache?: string;
  confine?: boolean;
  localFilesOnly?: boolean;
  json?: boolean;
}

const EXAMPLE = `
anymal replay runs/align
anymal replay runs/instruct --until 20 --json`;

export function replayCommand(): Command {
  const about =
    "Runs a training's steps again, from the weights, the recipe and the data of its folder, and names the first step whose rows, rate, loss, " +
    "norm or weights are not those that were logged, with the likely cause. Writes nothing. Exits with 1 where one differs.";
  return command("replay", about, EXAMPLE)
    .argument("<run>", "the folder that --output named")
    .option("--until <step>", "the last step to make (default: the last that was logged)", integer(1))
    .option("--data <file>", "where the data are now, if they moved; may come several times", list)
    .option("--llm <folder or id>", "where the language model is now, or another of its shape")
    .option("--encoder <modality=folder or id>", "where an encoder is now, once for each modality", perModality)
    .option("--device <name>", "cpu, cuda or auto (default: $ANYMAL_DEVICE, or cpu)")
    .option("--cache <folder>", "where features of frozen encoders are kept")
    .addOption(new Option("--confine", "reads media in the folder of their data file alone"))
    .option(`${KINDS_FLAG} <file>`, "a module of yours that exports kinds of media, made with mediaKind(); may come several times", list)
    .option("--local-files-only", "no request to the hub")
    .option("--json", "JSON on standard output, for machines")
    .action(run);
}

async function run(folder: string, { json = false, encoder, data, cache, ...flags }: ReplayFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { replay } = await import("../train/replay/replay.js");
  const { Progress } = await import("../train/progress.js");
  const { cacheOf } = await import("./training.js");
  const { Downloads } = await import("./downloads.js");
  const progress = json ? undefined : new Progress({ label: "replay" });
  const given = { until: flags.until, device: flags.device, llm: flags.llm, confine: flags.confine, localFilesOnly: flags.localFilesOnly };
  let report: ReplayReport;
  try {
    report = await replay(folder, {
      ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      ...(encoder && { encoders: encoder }),
      ...(data && { data }),
      ...{ cache: cacheOf(cache === undefined ? {} : { cache }), kinds: ownKinds(), signal: interrupt.signal },
      ...{ onProgress: new Downloads().onProgress, onStep: (step) => progress?.update(step) },
    });
  } finally {
    progress?.end();
  }
  if (json) printJson({ type: "result", ...report });
  else show(report);
  if (report.difference) process.exitCode = EXIT.failed;
}

function show({ steps, weights, difference, causes }: ReplayReport): void {
  const same = `${steps} step${steps === 1 ? "" : "s"} as logged, to the bit`;
  print(weights.length ? `${same}; so are the weights after step ${weights.join(", ")}` : same);
  if (difference) {
    const { step, what, logged, made } = difference;
    const place = step ? (what === "weights" ? `after step ${step}` : `in step ${step}`) : "before the first step";
    print(`${place}: ${what} ${made}, and ${logged} in the run`);
  }
  for (const [i, { text }] of causes.entries()) print(difference && !i ? `likely because ${text}` : `also: ${text}`);
  if (difference && !causes.length)
    print("nothing else that was noted differs: another processor, a card, or media that were changed may be why");
}
