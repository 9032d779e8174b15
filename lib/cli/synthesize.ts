// `anymal synthesize`: instructions that a language model writes from captions, things and places.
import { type Command, InvalidArgumentError } from "commander";
import { SYNTHESIS_KINDS, type SynthesisName } from "../train/synthesis/kinds.js";
import type { SynthesisReport } from "../train/synthesis/synthesize.js";
import { type AnnotationFlags, annotationFlags } from "./annotation-flags.js";
import { loadOptions, type ModelFlags, modelFlags } from "./flags.js";
import { command, EXIT, Interrupt, integer, number, print, printJson, tell, UsageError } from "./output.js";
import { table } from "./table.js";

interface SynthesizeFlags extends ModelFlags, AnnotationFlags {
  captions?: string;
  output?: string;
  kind?: SynthesisName[];
  each: number;
  limit?: number;
  temperature: number;
  topP: number;
  maxNewTokens: number;
  threshold: number;
  seed: number;
  batch: number;
  verify: boolean;
  blindCheck: boolean;
}

const EXAMPLE = `
anymal synthesize --llm llama-2-70b-chat --captions captions_train2014.jsonl --annotations instances_train2014.json --images train2014 --output synthetic.jsonl
anymal instruct --model runs/align --data synthetic.jsonl --output runs/instruct`;

export function synthesizeCommand(): Command {
  const about =
    "A language model writes questions and answers about media that it knows from captions, things and places alone; pairs that it answers the same without them, or otherwise with them, are left out.";
  return annotationFlags(modelFlags(command("synthesize", about, EXAMPLE), "whose language model writes (or --llm alone)"))
    .option("--captions <file>", "captions of pictures, videos, sounds or motion; several rows may speak of one")
    .option("--output <file>", "the rows to write, JSONL")
    .option("--kind <name>", `one of ${Object.keys(SYNTHESIS_KINDS).join(", ")}; may come several times (default: all)`, kind)
    .option("--each <n>", "texts of a kind about one medium", integer(1), 1)
    .option("--limit <n>", "only the first so many media", integer(1))
    .option("--temperature <x>", "of the texts; the checks take the most probable answer", number(), 0.7)
    .option("--top-p <x>", "of the most probable tokens that make up this share", number(0, 1), 0.9)
    .option("--max-new-tokens <n>", "the longest text", integer(1), 512)
    .option("--threshold <share>", "of an answer's words from which on another answer is the same", number(0, 1), 0.6)
    .option("--seed <n>", "the same seed gives the same rows", integer(), 0)
    .option("--batch <n>", "questions together", integer(1), 32)
    .option("--no-verify", "keeps answers without asking again with the description")
    .option("--no-blind-check", "keeps pairs that are answered the same without the description")
    .action(run);
}

function kind(text: string, before: SynthesisName[] = []): SynthesisName[] {
  if (!Object.hasOwn(SYNTHESIS_KINDS, text)) throw new InvalidArgumentError(`Expected one of ${Object.keys(SYNTHESIS_KINDS).join(", ")}`);
  return [...before, text as SynthesisName];
}

async function run(flags: SynthesizeFlags): Promise<void> {
  const { model: folder, llm, captions, annotations, images, beside, split, output, kind: kinds, each, limit, verify, batch } = flags;
  if ((folder ?? llm) === undefined || !output || (captions ?? annotations) === undefined)
    throw new UsageError("anymal synthesize", "--model or --llm, --captions or --annotations, and --output are needed");
  using interrupt = new Interrupt();
  const { AnyMAL } = await import("../anymal/anymal.js");
  const { synthesize } = await import("../train/synthesis/synthesize.js");
  const loading = loadOptions(flags, interrupt.signal);
  await using model = await (folder === undefined
    ? AnyMAL.assemble({ ...loading, llm: llm as string, modalities: {} })
    : AnyMAL.fromPretrained(folder, loading));
  const report = await synthesize(model, {
    ...{ captions, annotations, images, beside, split, output, each, batch, verify, needsMedium: flags.blindCheck },
    ...{ threshold: flags.threshold, seed: flags.seed, signal: interrupt.signal, onProblem: ({ message }: Error) => tell(message) },
    ...(kinds && { kinds }),
    ...(limit !== undefined && { limit }),
    sampling: { temperature: flags.temperature, topP: flags.topP, maxNewTokens: flags.maxNewTokens },
  });
  if (flags.json) printJson({ output, ...report });
  else show(output, report);
  if (report.unasked) process.exitCode = EXIT.failed;
}

function show(output: string, report: SynthesisReport): void {
  const { media, texts, malformed, pairs, unsure, guessed, kept, rows, unasked } = report;
  const share = (n: number) => `${n} (${pairs ? ((100 * n) / pairs).toFixed(1) : 0} %)`;
  print(`${output}: ${rows} rows`);
  table([
    ["texts", `${texts} about ${media} media`],
    ["without a pair", String(malformed)],
    ["pairs", String(pairs)],
    ["answered otherwise with the description", share(unsure)],
    ["answered the same without it", share(guessed)],
    ["kept", share(kept)],
    ["not asked", String(unasked)],
  ]);
}
