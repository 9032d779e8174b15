// Flags of commands that answer: how tokens are chosen.
import { type Command, Option } from "commander";
import type { AnswerOptions } from "../anymal/anymal.js";
import type { MediaOptions } from "../media/media-options.js";
import { type ModelFlags, modelFlags } from "./flags.js";
import { mediaFlags } from "./media-flags.js";
import { integer, list, number } from "./output.js";
import { SAFETY_FLAG } from "./safety.js";

export interface AnswerFlags extends ModelFlags {
  maxNewTokens: number;
  minNewTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  noRepeatNgramSize?: number;
  seed?: number;
  stop?: string[];
  activations?: "int8";
  splitSpecialTokens?: boolean;
  safety?: string;
  mediaOption?: MediaOptions;
}

export function answerFlags(command: Command): Command {
  const noRepeat = new Option("--no-repeat-ngram-size <n>", "no sequence of so many tokens comes twice").argParser(integer());
  noRepeat.negate = false; // "no" is part of the name
  modelFlags(command, "a folder that align, instruct or demo wrote");
  return mediaFlags(command)
    .option("--max-new-tokens <n>", "the longest answer", integer(1), 256)
    .option("--min-new-tokens <n>", "the shortest answer; no token that ends it comes before (default: 0)", integer())
    .option("--temperature <x>", "above 1 more surprising, below 1 less; default: the most probable token each time", number())
    .option("--top-k <n>", "of the k most probable tokens", integer(1))
    .option("--top-p <x>", "of the most probable tokens that make up this share", number(0, 1))
    .option("--min-p <x>", "of tokens at least this fraction as probable as the best", number(0, 1))
    .option("--repetition-penalty <x>", "above 1: less of what is there already", number())
    .addOption(noRepeat)
    .option("--seed <n>", "the same seed gives the same answer", integer())
    .addOption(
      new Option("--activations <type>", "int8: quantised layers round what they read to 8 bit: faster, not exact (CPU)").choices(["int8"]),
    )
    .option("--stop <text>", "ends the answer before this text; may come several times", list)
    .option("--split-special-tokens", "text that spells a control token, as <s> of HTML does, is letters")
    .option(
      `${SAFETY_FLAG} <file>`,
      "a module of yours that exports before(turns) or after(answer, turns): what they say no to is refused",
    );
}

export function answerOptions(flags: AnswerFlags): AnswerOptions {
  const { maxNewTokens, minNewTokens, temperature, topK, topP, minP, repetitionPenalty, noRepeatNgramSize, seed, stop } = flags;
  const { splitSpecialTokens, activations } = flags;
  return {
    ...{ maxNewTokens, minNewTokens, temperature, topK, topP, minP, repetitionPenalty, noRepeatNgramSize },
    ...{ seed, stop, splitSpecialTokens, activations },
  };
}

/** Counts what is generated. */
export class TokenCount {
  tokens = 0;
  readonly onTokens = (row: readonly (number | undefined)[]): void => {
    for (const token of row) if (token !== undefined) ++this.tokens;
  };
}
