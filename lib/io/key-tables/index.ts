// Every system whose own checkpoints are known, in the order in which they are tried. A new one is an entry here.
import { clap } from "./clap.js";
import { lavin } from "./lavin.js";
import { LAVIS } from "./lavis.js";
import { llama } from "./llama.js";
import { LLAMA_ADAPTER_V2_TABLES } from "./llama-adapter-v2.js";
import { llavaLora } from "./llava-lora.js";
import { minigpt4 } from "./minigpt4.js";
import { openFlamingo } from "./open-flamingo.js";
import type { KeyTable } from "./table.js";
import { TOWERS } from "./towers.js";
import { videoChatgpt } from "./video-chatgpt.js";
import { whisper } from "./whisper.js";

export { type Json, type KeyTable, Known, type Numbers, type Rule } from "./table.js";

export const KEY_TABLES: readonly KeyTable[] = [
  llama,
  clap,
  whisper,
  llavaLora,
  ...LLAMA_ADAPTER_V2_TABLES,
  lavin,
  ...LAVIS,
  minigpt4,
  openFlamingo,
  videoChatgpt,
  ...TOWERS,
];

/** What wraps a model and stands before all of its names. */
const WRAPPERS = ["module.", "_orig_mod."];

/** What DataParallel and torch.compile put before every name; "" where they did not. */
export function wrapping(names: readonly string[]): string {
  let prefix = "";
  for (;;) {
    const more = WRAPPERS.find((one) => names.length > 0 && names.every((name) => name.startsWith(prefix + one)));
    if (more === undefined) return prefix;
    prefix += more;
  }
}

export const tableFor = (names: readonly string[]): KeyTable | undefined =>
  KEY_TABLES.find(({ marks }) => marks.every((mark) => names.some((name) => mark.test(name))));
