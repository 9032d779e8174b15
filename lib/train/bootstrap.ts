// Pink's self-consistent bootstrapping (arXiv 2310.00582, section 3.4): a model says what is in boxes that people drew, is asked where that is, and what leads
// it back to the box becomes data for its next training.
import { AnyMAL } from "../anymal/anymal.js";
import type { PromptInput } from "../anymal/prompt.js";
import { type AnymalError, expected } from "../core/errors.js";
import { checkOptions, optionNames } from "../core/options.js";
import { type Box, type BoxOptions, boxPixels, boxText, parseBox } from "../data/boxes.js";
import { type AnnotationOptions, readAnnotations } from "../data/referential/annotations.js";
import { consistent } from "../data/referential/consistent.js";
import { areaOf, type MarkedPicture } from "../data/referential/picture.js";
import { captionQuestion, groundingQuestion, type Referential } from "../data/referential/tasks.js";
import { named, PicturePlaces, referentialRow, writeLines } from "../data/referential/write.js";
import { DataError } from "../data/row.js";
import { image } from "../media/image.js";
import { type Answering, answersTo } from "./asked.js";

export interface BootstrapOptions extends BoxOptions, AnnotationOptions {
  /** Boxes in COCO's layout (Objects365), or in one of the others that readAnnotations() knows. */
  annotations: string;
  /** Default: the folder of the annotations. */
  images?: string;
  /** JSONL in LLaVA's layout. */
  output: string;
  /** What of an expression's own box the box that the model finds must share, as IoU. Default 0.5. */
  threshold?: number;
  /** Questions together. Default 32. */
  batch?: number;
  maxNewTokens?: number;
  /** The model's questions, where it was trained on others than writeReferential()'s. */
  questions?: { caption(box: string): string; grounding(text: string): string };
  onProgress?: ((report: BootstrapReport) => void) | undefined;
}
export interface BootstrapReport {
  pictures: number;
  boxes: number;
  /** Boxes that the model had no words for, and words for which it named not exactly one box. */
  speechless: number;
  malformed: number;
  /** Boxes that were found again: two rows each, a grounding and a grounding caption. */
  kept: number;
  /** Pictures that have one of these. */
  keptPictures: number;
  /** Questions that could not be asked: of a picture that cannot be read, or longer than the context. */
  unasked: number;
}
const OPTIONS = optionNames<BootstrapOptions>({
  ...{ annotations: true, images: true, output: true, threshold: true, batch: true, maxNewTokens: true, questions: true, square: true },
  ...{ beside: true, split: true, onProblem: true, onProgress: true, signal: true },
});
/** Its pictures are padded, and so are the places in them. */
const padded = (model: Answering): boolean => model instanceof AnyMAL && model.encoder("image").setup.pad === true;

interface Asked {
  picture: MarkedPicture;
  name: string;
  path: string;
  box: Box;
  text?: string;
  predicted?: Box | undefined;
}

/**
 * Writes what the model says of annotated boxes and finds again, as rows to train on; the box of a row is the one that people drew. Without words, without
 * exactly one box in the second answer, or where the two share less than `threshold`, a pair is left out. A question that cannot be asked is told to
 * `onProblem`, or ends it. Throws E_VALUE on options out of range.
 */
export async function bootstrap(model: Answering, options: BootstrapOptions): Promise<BootstrapReport> {
  checkOptions("bootstrap", options, OPTIONS);
  const { annotations, output, threshold = 0.5, batch = 32, onProgress, signal, square = padded(model) } = options;
  if (!(threshold > 0 && threshold <= 1)) throw expected("E_VALUE", "bootstrap: threshold", "a number above 0, 1 at most", threshold);
  if (!(Number.isInteger(batch) && batch >= 1)) throw expected("E_VALUE", "bootstrap: batch", "an integer of at least 1", batch);
  const { images = annotations.replace(/[^\\/]*$/, "") || ".", beside, split, onProblem } = options;
  const places = new PicturePlaces(annotations, images, output);
  const report: BootstrapReport = { pictures: 0, boxes: 0, speechless: 0, malformed: 0, kept: 0, keptPictures: 0, unasked: 0 };
  const round = new Round(model, { ...options, square, batch }, report);
  await writeLines(output, async (add) => {
    let waiting: Asked[] = [];
    let rows = 0;
    const work = async () => {
      for (const [picture, name, kept] of await round.kept(waiting, threshold)) {
        ++report.keptPictures;
        for (const one of kept) await add(referentialRow(`${name}#${rows++}`, name, picture, one));
      }
      waiting = [];
      onProgress?.({ ...report });
    };
    for await (const picture of readAnnotations(annotations, { beside, split, onProblem, signal })) {
      const name = named(places, picture, options);
      if (name === undefined) continue;
      ++report.pictures;
      for (const { box, ignore } of picture.objects) {
        if (ignore || !(areaOf(box) > 0)) continue;
        ++report.boxes;
        waiting.push({ picture, name, path: places.path(picture), box });
      }
      if (waiting.length >= batch) await work();
    }
    if (waiting.length) await work();
  });
  return report;
}

class Round {
  constructor(
    private readonly model: Answering,
    private readonly options: BootstrapOptions & { batch: number },
    private readonly report: BootstrapReport,
  ) {}

  /** By picture, in their order. */
  async kept(asked: readonly Asked[], threshold: number): Promise<[MarkedPicture, string, Referential[]][]> {
    const { square, questions: { caption, grounding } = { caption: captionQuestion, grounding: groundingQuestion } } = this.options;
    const size = ({ picture: { width, height } }: Asked) => ({ width, height });
    const at = (one: Asked) => boxText(one.box, size(one), { square });
    const said = await this.#answers(asked, (one) => caption(at(one)));
    const spoken = asked.flatMap((one, i): Asked[] => {
      const text = said[i]?.trim();
      if (text === "") ++this.report.speechless;
      return text ? [{ ...one, text }] : [];
    });
    const seen = await this.#answers(spoken, ({ text }) => grounding(text as string));
    const byPicture = new Map<MarkedPicture, [MarkedPicture, string, Referential[]]>();
    for (const [i, one] of spoken.entries()) {
      const answer = seen[i];
      if (answer === undefined) continue;
      const shares = parseBox(answer);
      if (!shares) ++this.report.malformed;
      const text = one.text as string;
      const predicted = shares && boxPixels(shares, size(one), { square });
      if (!consistent([{ text, box: one.box, predicted }], threshold).length) continue;
      ++this.report.kept;
      const rows = byPicture.get(one.picture) ?? [one.picture, one.name, []];
      byPicture.set(one.picture, rows);
      rows[2].push({ task: "grounding", question: grounding(text), answer: at(one), box: one.box });
      rows[2].push({ task: "grounding-caption", question: caption(at(one)), answer: text });
    }
    return [...byPicture.values()];
  }

  /** undefined where the picture cannot be read. */
  #answers(asked: readonly Asked[], question: (one: Asked) => string): Promise<(string | undefined)[]> {
    const { batch, maxNewTokens = 64, signal, onProblem, annotations } = this.options;
    const prompts = asked.map((one): PromptInput => [image(one.path), question(one)]);
    const unasked = (index: number, cause: AnymalError) => {
      ++this.report.unasked;
      const wanted = `a question that can be asked of ${asked[index]?.path}`;
      onProblem?.(new DataError("E_ROW", annotations, undefined, wanted, cause.message, "leave it out, or mend it", { cause }));
    };
    return answersTo(this.model, prompts, { batch, maxNewTokens, ...(signal && { signal }) }, onProblem && unasked);
  }
}
