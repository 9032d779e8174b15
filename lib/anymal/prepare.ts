// Prompts as the language model takes them: text in ids, media as the rows that their projections make of them, of several prompts side by side.
import { noGrad } from "../core/autograd.js";
import { scope } from "../core/scope.js";
import { Turns } from "../core/turns.js";
import type { Prompt } from "../generate/generate.js";
import type { AnyMAL, FeatureOptions } from "./anymal.js";
import type { Features } from "./media-encoder.js";
import {
  batchOf,
  checkContext,
  conversationOf,
  type EncodedPrompt,
  encodePrompt,
  type PromptInput,
  positionsOf,
  regrouped,
} from "./prompt.js";
import { askingOf, rowsMadeOf } from "./question.js";

/** What it asks of a model. */
export type Asked = Pick<AnyMAL, "tokenizer" | "prompt" | "llm" | "network" | "device" | "features" | "projector" | "questions">;

/** What belongs to reading prompts alone. `number`: of the i-th prompt, for messages. */
export async function encodedPrompts(
  model: Asked,
  prompts: readonly PromptInput[],
  reading: FeatureOptions,
  number = (i: number): number => i,
): Promise<EncodedPrompt[]> {
  reading.signal?.throwIfAborted();
  const turns = new Turns();
  const encoded: EncodedPrompt[] = [];
  const options = encoding(model, reading);
  for (const [i, prompt] of prompts.entries()) {
    const where = `prompt ${number(i)}`;
    encoded.push(encodePrompt(model.tokenizer, conversationOf(prompt, model.prompt), { ...options, generation: true, where }));
    await turns.next();
  }
  return encoded;
}

/** How a model's prompts are written. */
export const encoding = (model: Asked, { splitSpecialTokens }: FeatureOptions) => ({
  ...model.prompt,
  splitSpecialTokens: splitSpecialTokens ?? model.prompt.splitSpecialTokens ?? false,
  rows: model.llm.config.vocabSize,
  ask: askingOf(model),
});

/** The tensors of the result are the caller's to dispose. */
export async function prepared(model: Asked, encoded: readonly EncodedPrompt[], reading: FeatureOptions): Promise<Prompt> {
  const rowsOf = ({ modality, shape }: Features) => model.projector(modality).rows(shape);
  const all = await model.features(
    encoded.flatMap(({ media }) => media),
    reading,
  );
  const features = regrouped(
    all,
    encoded.map(({ media }) => media.length),
  );
  for (const [i, one] of encoded.entries()) checkContext(one, features[i] as Features[], model.llm.config.maxPositions, rowsOf);
  return noGrad(() =>
    scope(() => {
      const batch = batchOf(encoded, features, model.device);
      const { inputsEmbeds, spliced, beside } = model.network.embed(batch, { side: "left" });
      const media = encoded.map((one) => one.media.length > 0);
      if (encoded.length > 1) {
        const { rows, seen } = beside ?? {};
        return { inputsEmbeds, attentionMask: spliced.attentionMask, media, ...(rows && { beside: { rows, seen } }) };
      }
      const [one, own] = [encoded[0] as EncodedPrompt, features[0] as Features[]];
      const made = own.map((known, i) => rowsMadeOf(known, one.questions?.[i]));
      const of = beside?.of[0]?.map(({ modality, item }) => made.filter((_, i) => own[i]?.modality === modality)[item]);
      return {
        inputsEmbeds,
        media,
        positions: positionsOf(one, made, (i) => rowsOf(own[i] as Features)),
        ...(beside && { beside: { ...beside, of } }),
      };
    }),
  );
}

/** Disposes what prepared() made. */
export function release({ inputsEmbeds, beside }: Prompt): void {
  for (const tensor of [inputsEmbeds, beside?.rows]) tensor?.dispose();
}
