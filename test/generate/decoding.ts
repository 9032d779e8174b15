// Prompts of several lengths, as cases of decoding have them.
import type { Prompt } from "../../lib/generate/causal-lm.js";

export function leftPadded(prompts: readonly (readonly number[])[]): Prompt {
  const width = Math.max(...prompts.map((prompt) => prompt.length));
  const padding = (prompt: readonly number[]) => new Array<number>(width - prompt.length).fill(0);
  return {
    inputIds: prompts.map((prompt) => [...padding(prompt), ...prompt]),
    attentionMask: prompts.map((prompt) => [...padding(prompt), ...prompt.map(() => 1)]),
  };
}
