// Many questions to a model, of which some cannot be asked: those are found, and the others are answered.
import type { AnswerOptions } from "../anymal/anymal.js";
import type { PromptInput } from "../anymal/prompt.js";
import { AnymalError, isOfDevice } from "../core/errors.js";

/** A model that answers. */
export interface Answering {
  generateAll(prompts: readonly PromptInput[], options?: AnswerOptions): Promise<string[]>;
}

/**
 * The answers, in the order of the prompts. A prompt that cannot be asked, of a picture that cannot be read or longer than the context, is told to
 * `unasked` and has no answer; without `unasked` its error ends it. Errors of the device and aborts always do.
 */
export async function answersTo(
  model: Answering,
  prompts: readonly PromptInput[],
  options: AnswerOptions,
  unasked?: (index: number, error: AnymalError) => void,
  first = 0,
): Promise<(string | undefined)[]> {
  if (!prompts.length) return [];
  try {
    return await model.generateAll(prompts, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!unasked || !(error instanceof AnymalError) || isOfDevice(error)) throw error;
    if (prompts.length === 1) {
      unasked(first, error);
      return [undefined];
    }
    const half = prompts.length >> 1;
    return [
      ...(await answersTo(model, prompts.slice(0, half), options, unasked, first)),
      ...(await answersTo(model, prompts.slice(half), options, unasked, first + half)),
    ];
  }
}
