// Many prompts from a file. A bad row is named by its number and does not keep the others from being answered.
import { AnyMAL } from "../anymal/anymal.js";
import { AnymalError } from "../core/errors.js";
import { type MediaFileOptions, MediaFiles } from "../data/media-files.js";
import { type DataRecord, keysOf, recordsOf } from "../data/records.js";
import { type Content, DataError, whereOf } from "../data/row.js";
import type { Modality } from "../media/part.js";
import { TokenCount } from "./answer-flags.js";
import { loadOptions } from "./flags.js";
import { inFlags } from "./in-flags.js";
import { ownKinds } from "./kinds.js";
import { describeError, EXIT, Interrupt, print, printJson, tell } from "./output.js";
import { placed } from "./prompt-text.js";
import { type Reply, type ReplyFlags, replies, replyOptions, replyText } from "./replies.js";
import { safetyOf } from "./safety.js";

interface Asked {
  row: number;
  content: Content;
}
type Answered = { row: number } & Reply;
interface Problem {
  row: number;
  code: string;
  message: string;
}

export async function answerFile(path: string, folder: string, flags: ReplyFlags & { batch: number; confine?: boolean }): Promise<void> {
  using interrupt = new Interrupt();
  const { signal } = interrupt;
  const problems: Problem[] = [];
  const answers: Answered[] = [];
  const fail = (row: number, error: unknown) => {
    if (!(error instanceof AnymalError)) throw error;
    problems.push({ row, code: error.code, message: inFlags(error.message) });
    const where = whereOf(path, row);
    tell(error.message.startsWith(where) ? describeError(error) : `${where}: ${describeError(error)}`);
  };
  const asked = await readPrompts(path, { signal, media: flags.mediaOption, confine: flags.confine, kinds: ownKinds() }, fail);
  const count = new TokenCount();
  const start = performance.now();
  if (asked.length) {
    const safety = await safetyOf(flags.safety);
    await using model = await AnyMAL.fromPretrained(folder, loadOptions(flags, signal));
    const options = { ...replyOptions(flags), onTokens: count.onTokens, safety, signal };
    for (let from = 0; from < asked.length; from += flags.batch) {
      const some = asked.slice(from, from + flags.batch);
      for (const answered of await together((prompts) => replies(model, prompts, flags, options), some, fail)) {
        answers.push(answered);
        if (!flags.json) print(`${whereOf(path, answered.row)}: ${replyText(answered)}`);
      }
    }
  }
  if (flags.json) printJson({ answers, problems, tokens: count.tokens, seconds: (performance.now() - start) / 1000 });
  if (!problems.length) return;
  tell(`${problems.length} of ${problems.length + answers.length} rows without an answer`);
  process.exitCode = EXIT.failed;
}

async function readPrompts(
  path: string,
  options: MediaFileOptions & { signal: AbortSignal },
  fail: (row: number, error: unknown) => void,
): Promise<Asked[]> {
  const files = new MediaFiles(path, options);
  const asked: Asked[] = [];
  for await (const record of recordsOf(path, options.signal, files.kinds)) {
    if (record instanceof DataError) {
      fail(record.row as number, record);
      continue;
    }
    try {
      asked.push({ row: record.number, content: await contentOf(path, record, files) });
    } catch (error) {
      fail(record.number, error);
    }
  }
  return asked;
}

async function contentOf(path: string, { number, fields }: DataRecord, files: MediaFiles): Promise<Content> {
  const text = fields.prompt ?? fields.question ?? fields.text;
  if (typeof text !== "string")
    throw new DataError(
      "E_ROW",
      path,
      number,
      "a prompt",
      text === undefined ? keysOf(fields) : typeof text,
      "add prompt with the question",
    );
  const media = await Promise.all(
    ([...files.kinds.keys()] as Modality[]).flatMap((modality) => {
      const value = fields[modality];
      const sources = value === undefined || value === null || value === "" ? [] : [value].flat(1);
      return sources.map((source) => files.part(modality, source, number));
    }),
  );
  return placed(text, media, whereOf(path, number));
}

/** All at once; where one of them cannot be used, one by one shows which. */
async function together(
  ask: (prompts: readonly Content[]) => Promise<Reply[]>,
  some: readonly Asked[],
  fail: (row: number, error: unknown) => void,
): Promise<Answered[]> {
  try {
    const made = await ask(some.map(({ content }) => content));
    return some.map(({ row }, i) => ({ row, ...(made[i] as Reply) }));
  } catch (error) {
    if (!(error instanceof AnymalError)) throw error;
    if (some.length === 1) fail((some[0] as Asked).row, error);
  }
  const answers: Answered[] = [];
  for (const one of some.length > 1 ? some : []) answers.push(...(await together(ask, [one], fail)));
  return answers;
}
