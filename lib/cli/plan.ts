// `anymal plan`: what a training, or answers, will hold and take, before a weight is read.
import { Argument, type Command, Option } from "commander";
import type { PlannedStage, PlanReport } from "../plan/report.js";
import { type InstructFlags, instructed, instructFlags } from "./instruct-flags.js";
import { ownKinds } from "./kinds.js";
import { command, EXIT, Interrupt, integer, number, print, printJson, UsageError } from "./output.js";
import { table } from "./table.js";
import { recipeKeys, trainingFlags } from "./training-flags.js";

const STAGES = ["align", "instruct", "generate"] as const;
type Stage = (typeof STAGES)[number];

interface PlanFlags extends InstructFlags {
  on?: string;
  rows?: number;
  tokens?: number;
  media?: number;
  mediaSeconds?: number;
  prompts?: number;
  newTokens?: number;
  kvCache?: "bf16" | "int8";
  share?: number;
  threads?: number;
}

const EXAMPLE = `
anymal plan --config recipe.yaml --on h100
anymal plan align --llm ./llama-2-70b --encoder image=./clip-vit-large-patch14 --modality image --batch 128 --micro-batch 4 --on h200 --rows 1000000
anymal plan generate --model runs/instruct --prompts 8 --new-tokens 512`;

export function planCommand(): Command {
  const about =
    "Says what each stage of a training will hold in memory, by what for, and how long it will take, on this machine's CPU or on a card. " +
    "Of the models config.json, tokenizer and preprocessor are enough; no weight is read. Exits with 1 where it does not fit.";
  const plan = command("plan", about, EXAMPLE)
    .addArgument(new Argument("[stages...]", "which ones; default: those of the recipe").choices([...STAGES]))
    .option("--on <machine>", "cpu (default), or a card: h200, h100, h100-pcie, a100-80, a100-40, l40s, a10, l4, rtx-4090, rtx-3090")
    .option("--rows <n>", "rows of the data, where it is not here", integer(1))
    .option("--tokens <n>", "without --data: tokens of text in a row (default 64)", integer(1))
    .option("--media <n>", "without --data: media of each kind in a row (default 1)", integer(0))
    .option("--media-seconds <x>", "without --data: of sounds and recordings (default 10)", number(0.1))
    .option("--prompts <n>", "of generate: answered together (default 1)", integer(1))
    .option("--new-tokens <n>", "of generate: of each answer (default 256)", integer(1))
    .addOption(new Option("--kv-cache <type>", "of generate: what keys and values are kept as").choices(["bf16", "int8"]))
    .option("--share <x>", "of the machine's peak that is counted on (default 0.5 of a CPU, 0.4 of a card)", number(0.001, 1))
    .option("--threads <n>", "of the CPU", integer(1));
  return trainingFlags(instructFlags(plan)).action(run);
}

async function run(stages: readonly Stage[], flags: PlanFlags): Promise<void> {
  using interrupt = new Interrupt();
  const { plan } = await import("../plan/plan.js");
  const { trainingJob } = await import("./training-job.js");
  const asked = new Set(stages);
  const job = await trainingJob(asked.has("instruct") && !asked.has("align") ? "instruct" : "align", { output: ".", ...flags }, (raw) => {
    const modalities = flags.modality ?? Object.keys(raw.align ?? {});
    if (asked.has("align") && !modalities.length) throw new UsageError("anymal plan", "--modality is needed, or a recipe with align");
    const own = (modality: string) => recipeKeys("align", flags, raw.align?.[modality]);
    const aligned = Object.fromEntries(modalities.map((modality) => [modality, { ...raw.align?.[modality], ...own(modality) }]));
    const both = asked.has("align") || (!asked.size && raw.align) ? { ...raw, align: aligned } : raw;
    return asked.has("instruct") || (!asked.size && raw.instruct) ? instructed(both, flags) : both;
  });
  if (!asked.size && !job.recipe.instruct && !Object.keys(job.recipe.align).length)
    throw new UsageError("anymal plan", "which stage? Say align, instruct or generate, or give a recipe that has one");
  const { rows, tokens, media, mediaSeconds: seconds, prompts, newTokens, kvCache, share, threads } = flags;
  const given = { rows, tokens, media, seconds, prompts, newTokens, kvCache, share, threads, machine: flags.on, checkpoint: job.model };
  const report = await plan(job.recipe, {
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(asked.size && { stages: [...asked] }),
    ...{ kinds: ownKinds(), signal: interrupt.signal },
  });
  if (flags.json) printJson(report);
  else show(report);
  if (report.stages.some(({ fits }) => !fits)) process.exitCode = EXIT.failed;
}

const PARTS: readonly (readonly [keyof PlannedStage["bytes"], string])[] = [
  ["languageModel", "language model"],
  ["encoders", "encoders"],
  ["projections", "projections"],
  ["added", "branches and masters"],
  ["gradients", "gradients"],
  ["moments", "optimiser"],
  ["cache", "key/value cache"],
  ["activations", "activations"],
  ["scratch", "what ops compute in"],
];

function show({ machine, stages }: PlanReport): void {
  print(`${machine.name}, ${bytes(machine.memory)} of memory`);
  for (const { stage, settings, length, textTokens, parameters, bytes: held, time, fits, validation, featureBytes } of stages) {
    const switches = Object.entries(settings).map(([key, value]) => `${key} ${value}`);
    print(`\n${stage}: ${switches.join(", ")}`);
    print(
      `  rows of at most ${length} positions, ${textTokens} of them text; ${count(parameters.trained)} of ${count(parameters.all)} parameters train`,
    );
    table([
      ...PARTS.filter(([key]) => held[key] > 0).map(([key, name]) => [name, bytes(held[key]), percent(held[key], held.peak)]),
      ["at most", bytes(held.peak), fits ? "fits" : "DOES NOT FIT"],
      ["while it loads", bytes(held.loading), ""],
      ...(featureBytes ? [["features of a row, on the host", bytes(featureBytes), ""]] : []),
    ]);
    if (validation)
      print(
        `  rows that are held out: ${validation.looks} looks of ${duration(validation.secondsPerLook)}, at most ${bytes(validation.peak)} in one`,
      );
    const each = stage === "generate" ? "token" : "step";
    const epoch = time.secondsPerEpoch === undefined ? "" : `, ${duration(time.secondsPerEpoch)} an epoch of ${time.stepsPerEpoch} steps`;
    print(
      `  ${duration(time.secondsPerStep)} a ${each} at ${Math.round(100 * time.share)} % of what the machine can do at best, ` +
        `${count(time.tokensPerSecond)} tokens/s${epoch}, ${duration(time.secondsInAll)} in all`,
    );
  }
  if (machine.kind === "cuda")
    print("\nA card's driver takes some 0.5 GiB beside this, and ours are figures of data sheets: no card has measured them.");
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
function bytes(n: number): string {
  const power = n > 0 ? Math.min(4, Math.floor(Math.log2(n) / 10)) : 0;
  return `${(n / 1024 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
}
const percent = (part: number, whole: number): string => `${((100 * part) / whole).toFixed(1)} %`;
function count(n: number): string {
  const [size, unit] = (
    [
      [1e9, " G"],
      [1e6, " M"],
      [1e3, " k"],
    ] as const
  ).find(([size]) => n >= size) ?? [1, ""];
  return `${n / size >= 100 || unit === "" ? Math.round(n / size) : (n / size).toFixed(1)}${unit}`;
}
function duration(seconds: number): string {
  if (seconds < 1) return `${(1000 * seconds).toPrecision(3)} ms`;
  if (seconds < 120) return `${seconds.toPrecision(3)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}
