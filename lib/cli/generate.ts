// `anymal generate`: one prompt, or a file of them.
import type { Command } from "commander";
import type { Kind } from "../media/kinds/index.js";
import type { Modality } from "../media/part.js";
import { answerFlags, TokenCount } from "./answer-flags.js";
import { loadOptions } from "./flags.js";
import { kinds, marksTold, ownKinds } from "./kinds.js";
import { confineFlags } from "./media-flags.js";
import { command, Interrupt, integer, print, printJson, UsageError, write } from "./output.js";
import { checkFiles, mediaPart, placed } from "./prompt-text.js";
import { isOneAnswer, type Reply, type ReplyFlags, replies, replyFlags, replyOptions, replyText } from "./replies.js";
import { safetyOf } from "./safety.js";

/** In the order of the command line. */
interface Given {
  modality: Modality;
  file: string;
}
interface GenerateFlags extends ReplyFlags {
  prompts?: string;
  batch: number;
  confine?: boolean;
}

const EXAMPLE = `
anymal generate --model runs/instruct "what color is <image>?" --image cat.jpg
anymal generate --model runs/instruct "is it red? <image>" --image cat.jpg --score yes --score no
anymal generate --model runs/instruct --prompts questions.jsonl --num-beams 4 --json`;

export function generateCommand(): Command {
  const media: Given[] = [];
  const about = `Answers a prompt. ${marksTold()} mark where media stand; without marks they follow the text.`;
  const generate = command("generate", about, EXAMPLE).argument("[prompt]", "the question");
  const mediaFlag = ({ name, about }: Kind) =>
    generate.option(`--${name} <file>`, `${about}; may come several times`, (file: string) => void media.push({ modality: name, file }));
  const own = ownKinds();
  for (const kind of kinds().values()) if (!own.some(({ name }) => name === kind.name)) mediaFlag(kind);
  generate
    .option("--prompts <file>", `many prompts: JSONL, JSON or CSV with prompt, and ${[...kinds().keys()].join(", ")}`)
    .option("--batch <n>", "of --prompts: how many run together", integer(1), 8);
  confineFlags(replyFlags(answerFlags(generate)));
  for (const kind of own) {
    if (generate.options.some(({ long }) => long === `--${kind.name}`))
      throw new UsageError("anymal generate", `the kind of media ${kind.name} is called as another flag is: give it another name`);
    mediaFlag(kind);
  }
  return generate.action((prompt: string | undefined, flags: GenerateFlags) => run(prompt, media, flags));
}

async function run(prompt: string | undefined, media: readonly Given[], flags: GenerateFlags): Promise<void> {
  const wrong = (message: string) => new UsageError("anymal generate", message);
  if (!flags.model) throw wrong("--model is needed");
  if (flags.prompts !== undefined) {
    if (prompt !== undefined || media.length) throw wrong("--prompts takes the place of a prompt and its media");
    const { answerFile } = await import("./prompts-file.js");
    return answerFile(flags.prompts, flags.model, flags);
  }
  if (prompt === undefined && !media.length) throw wrong("a prompt is needed, or --prompts");
  const content = placed(
    prompt ?? "",
    media.map(({ modality, file }) => mediaPart(modality, file, flags.mediaOption)),
  );
  checkFiles(content);
  using interrupt = new Interrupt();
  const { AnyMAL } = await import("../anymal/anymal.js");
  const count = new TokenCount();
  const safety = await safetyOf(flags.safety);
  await using model = await AnyMAL.fromPretrained(flags.model, loadOptions(flags, interrupt.signal));
  const start = performance.now();
  const options = { ...replyOptions(flags), onTokens: count.onTokens, safety, signal: interrupt.signal };
  const reply = isOneAnswer(flags)
    ? { answer: await written(model.generate(content, options), flags.json) }
    : ((await replies(model, [content], flags, options))[0] as Reply);
  if (flags.json) printJson({ ...reply, tokens: count.tokens, seconds: (performance.now() - start) / 1000 });
  else if (!("answer" in reply)) print(replyText(reply));
}

/** The answer, shown while it is written. */
async function written(pieces: AsyncIterable<string>, quiet = false): Promise<string> {
  let answer = "";
  try {
    for await (const piece of pieces) {
      answer += piece;
      if (!quiet) write(piece);
    }
  } finally {
    if (!quiet && answer) write("\n");
  }
  return answer;
}
