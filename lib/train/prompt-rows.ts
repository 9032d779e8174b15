// Rows as a language model learns from them: tokenised conversations with media between the words, cut to what fits.
import type { AnyMAL } from "../anymal/anymal.js";
import type { Media } from "../anymal/media-encoder.js";
import { conversationOf, type EncodedPrompt, encodePrompt } from "../anymal/prompt.js";
import { askingOf } from "../anymal/question.js";
import { AnymalError, expected } from "../core/errors.js";
import type { Row } from "../data/row.js";
import type { MediaPart } from "../media/part.js";
import { fitParts, promptLength } from "../text/fit-parts.js";
import { IGNORE } from "../text/prompt.js";
import type { TextPart } from "../text/splice.js";
import type { RowReader } from "./training-rows.js";

export interface ReadyRow extends EncodedPrompt {
  /** Of each medium, or what its processor made of it for an encoder that trains. */
  features: readonly Media[];
  /** Positions, after cutting. */
  length: number;
  /** Targets, after cutting. */
  scored: number;
  /** What they count in the loss together: as many as they are, where none has a weight of its own. */
  counted: number;
}

export interface PromptRowsOptions {
  maxLength: number;
  /** What every row must hold; a row that teaches nothing is a mistake. */
  check?: (media: readonly MediaPart[]) => string | undefined;
}

export class PromptRows implements RowReader<EncodedPrompt, ReadyRow> {
  constructor(
    private readonly model: AnyMAL,
    private readonly options: PromptRowsOptions,
  ) {}

  read({ where, turns }: Row): EncodedPrompt {
    const { model } = this;
    const prompt = encodePrompt(model.tokenizer, conversationOf(turns, model.prompt), {
      ...model.prompt,
      where,
      rows: model.llm.config.vocabSize,
      ask: askingOf(model),
    });
    for (const { modality } of prompt.media) model.encoder(modality);
    const problem = this.options.check?.(prompt.media);
    if (problem) throw new AnymalError("E_ROW", `${where}: ${problem}`);
    return prompt;
  }

  ready(prompt: EncodedPrompt, features: readonly Media[]): ReadyRow {
    const mediaLength = (i: number) => {
      const { modality, shape } = features[i] as Media;
      return this.model.projector(modality).rows(shape);
    };
    const parts = fitParts(prompt.parts, this.options.maxLength, mediaLength, prompt.where);
    let [scored, counted] = [0, 0];
    for (const [i, part] of parts.entries())
      if (!("media" in part))
        for (const weight of targets(part, i === 0)) {
          ++scored;
          counted += weight;
        }
    if (!scored) throw expected("E_PROMPT", prompt.where, "a token to learn", "none", "write a longer answer");
    return { ...prompt, parts, features, length: promptLength(parts, mediaLength), scored, counted };
  }
}

/** The weight of each. The first position of a row is nobody's next. */
function* targets({ labels, weights }: TextPart, first: boolean): Generator<number> {
  for (let i = first ? 1 : 0; labels && i < labels.length; ++i) if (labels[i] !== IGNORE) yield weights?.[i] ?? 1;
}
