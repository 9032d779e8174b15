// How well a text fits a picture, as CLIP sees it: the cosine of their embeddings (CLIPScore, arXiv 2104.08718, is 2.5 times it; LAION-400M kept 0.3 and more
// of ViT-B/32, arXiv 2111.02114, section 2).
import { noGrad } from "../../core/autograd.js";
import type { Device } from "../../core/device.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { scope } from "../../core/scope.js";
import { Tensor } from "../../core/tensor.js";
import { mediaOf, type Row } from "../../data/row.js";
import type { ImagePart } from "../../media/image.js";
import { ImageProcessor } from "../../media/image-processor.js";
import { ClipModel } from "../../models/clip.js";
import { Tokenizer } from "../../text/tokenizer.js";
import type { CurationStep } from "./step.js";

export interface ClipScorerOptions {
  device: Device;
  dtype?: "f32" | "bf16";
  /** Ids of a text with its end-of-text token. Default: the folder's own tokenizer. */
  tokens?: (text: string) => readonly number[];
}
const LOADING = optionNames<ClipScorerOptions>({ device: true, dtype: true, tokens: true });

/** Both towers of a CLIP, and what makes their inputs. */
export class ClipScorer {
  private constructor(
    private readonly model: ClipModel,
    private readonly processor: ImageProcessor,
    private readonly tokens: (text: string) => readonly number[],
  ) {}

  /** From a folder in Hugging Face's layout, as openai/clip-vit-base-patch32 has it. Throws E_VALUE on an option that is not known. */
  static fromPretrained(folder: string, options: ClipScorerOptions): ClipScorer {
    checkOptions("ClipScorer", options, LOADING);
    const { device, dtype, tokens } = options;
    const tokenizer = tokens ? undefined : Tokenizer.fromPretrained(folder);
    const processor = ImageProcessor.fromPretrained(folder);
    const model = ClipModel.fromPretrained(folder, { device, ...(dtype && { dtype }) });
    return new ClipScorer(model, processor, tokens ?? ((text) => (tokenizer as Tokenizer).encode(text)));
  }

  /** Cosines from -1 to 1, of picture i and text i; texts are cut where the tower ends. */
  async scores(pictures: readonly ImagePart[], texts: readonly string[], signal?: AbortSignal): Promise<number[]> {
    if (pictures.length !== texts.length)
      throw expected("E_SHAPE", "ClipScorer.scores", `a text for each of ${pictures.length} pictures`, texts.length);
    if (!pictures.length) return [];
    const { vision, text } = this.model;
    const { data, shape } = await this.processor.process(pictures, { ...(signal && { signal }) });
    const ids = texts.map((one) => cut(this.tokens(one), text.config.maxPositions));
    const [a, b] = noGrad(() =>
      scope(() => {
        const x = Tensor.from(data, shape, { device: vision.device, dtype: vision.dtype });
        return [vision.forward(x).embeds, text.forward(ids).embeds] as [Tensor, Tensor];
      }),
    );
    try {
      const [seen, said, width] = [await a.data(), await b.data(), a.shape[1] as number];
      return pictures.map((_, i) => cosine(seen.subarray(i * width, (i + 1) * width), said.subarray(i * width, (i + 1) * width)));
    } finally {
      a.dispose();
      b.dispose();
    }
  }

  dispose(): void {
    this.model.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The last one stays: it is the end of the text. */
const cut = (ids: readonly number[], most: number): readonly number[] =>
  ids.length <= most ? ids : [...ids.slice(0, most - 1), ids.at(-1) as number];

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; ++i) {
    const [x, y] = [a[i] as number, b[i] as number];
    [ab, aa, bb] = [ab + x * y, aa + x * x, bb + y * y];
  }
  return ab / Math.sqrt(aa * bb || 1);
}

/** What scores pairs of pictures and texts. */
export type PairScorer = Pick<ClipScorer, "scores">;
export interface ScoreFilterOptions {
  /** Rows of less are dropped. */
  least: number;
  /** Told of each score. */
  onScore?: (number: number, score: number) => void;
}
const FILTER = optionNames<ScoreFilterOptions>({ least: true, onScore: true });

/** Drops rows whose answers do not fit their pictures: the mean over these is below `least`. Rows without pictures stay. */
export function scoreFilter(scorer: PairScorer, options: ScoreFilterOptions): CurationStep {
  checkOptions("scoreFilter", options, FILTER);
  const { least, onScore } = options;
  if (!(least >= -1 && least <= 1)) throw expected("E_VALUE", "scoreFilter: least", "a cosine from -1 to 1", least);
  return {
    name: "score",
    async look(items, { signal }) {
      const pairs = items.flatMap(({ row }, item) => picturesOf(row).map((picture) => ({ item, picture, text: answersOf(row) })));
      const scores = await scorer.scores(
        pairs.map(({ picture }) => picture),
        pairs.map(({ text }) => text),
        signal,
      );
      return items.map(({ number }, item) => {
        const own = scores.filter((_, i) => pairs[i]?.item === item);
        if (!own.length) return undefined;
        const score = own.reduce((a, b) => a + b, 0) / own.length;
        onScore?.(number, score);
        return score >= least ? undefined : { drop: `a score of picture and text below ${least}` };
      });
    },
  };
}

const picturesOf = (row: Row): ImagePart[] => mediaOf(row).filter((part): part is ImagePart => part.modality === "image");
const answersOf = ({ turns }: Row): string =>
  turns
    .filter(({ role }) => role === "assistant")
    .flatMap(({ content }) => content)
    .filter((part) => typeof part === "string")
    .join(" ");
