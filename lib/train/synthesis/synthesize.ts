// Instructions that a language model writes itself: it reads what people said of media, writes questions and answers, answers them again with the description
// and without it, and what only the description tells becomes a row (arXiv 2309.16058, on MM-IT; LLaVA's kinds, arXiv 2304.08485, section 3).
import { dirname, relative, resolve, sep } from "node:path";
import type { AnswerOptions } from "../../anymal/anymal.js";
import type { PromptInput } from "../../anymal/prompt.js";
import { expected } from "../../core/errors.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { Draw } from "../../data/draw.js";
import { writeLines } from "../../data/referential/write.js";
import { DataError } from "../../data/row.js";
import { BUILT_IN } from "../../media/kinds/index.js";
import { type Answering, answersTo } from "../asked.js";
import { agreement } from "./agreement.js";
import { type DescribedMedium, type DescribedOptions, described, descriptionOf } from "./described.js";
import { type Exchange, SYNTHESIS_KINDS, type SynthesisKind, type SynthesisName } from "./kinds.js";

/** What the model is asked, where it was trained on other words. */
export interface SynthesisPrompts {
  /** The question once more, of one who is told the description. */
  told(question: string, description: string): PromptInput;
  /** The question, of one who is told nothing. */
  blind(question: string): PromptInput;
}

export interface SynthesizeOptions extends DescribedOptions {
  /** Default: conversation, detail, reasoning. */
  kinds?: readonly (SynthesisName | SynthesisKind)[];
  /** Texts of each kind that are written of a medium. Default 1. */
  each?: number;
  /** Of the media, the first so many. Default: all. */
  limit?: number;
  /** How texts are written; answers of the checks are always the most probable ones. Default: temperature 0.7, topP 0.9, 512 tokens. */
  sampling?: Pick<AnswerOptions, "temperature" | "topK" | "topP" | "minP" | "maxNewTokens" | "repetitionPenalty">;
  /** The same seed gives the same texts. Default 0. */
  seed?: number;
  /** Questions together. Default 32. */
  batch?: number;
  /** Is each question answered again with the description, and left out where the answers differ? Default true. */
  verify?: boolean;
  /** Is each question answered without the description, and left out where that is the answer too? Default true. */
  needsMedium?: boolean;
  /** From which share of words on answers are the same. Default 0.6. */
  threshold?: number;
  prompts?: SynthesisPrompts;
  /** The user's own judge, such as supported() with a tagger's words: false leaves a pair out. */
  keep?: ((exchange: Exchange, medium: DescribedMedium) => boolean | Promise<boolean>) | undefined;
  onProgress?: ((report: SynthesisReport) => void) | undefined;
}

export interface SynthesisReport {
  media: number;
  /** Texts that were written, and those of them in which no pair was found. */
  texts: number;
  malformed: number;
  /** Pairs that were found, each once for a medium. */
  pairs: number;
  /** Left out: answered otherwise when asked again with the description. */
  unsure: number;
  /** Left out: answered the same without it. */
  guessed: number;
  /** Left out by `keep`. */
  refused: number;
  kept: number;
  rows: number;
  /** What could not be asked, since it is longer than the context. */
  unasked: number;
}

const OPTIONS = optionNames<SynthesizeOptions>({
  ...{ captions: true, annotations: true, images: true, beside: true, split: true, output: true, onProblem: true, signal: true },
  ...{ kinds: true, each: true, limit: true, sampling: true, seed: true, batch: true, verify: true, needsMedium: true },
  ...{ threshold: true, prompts: true, keep: true, onProgress: true },
});
const SAMPLING = ["temperature", "topK", "topP", "minP", "maxNewTokens", "repetitionPenalty"];

/** "picture", "clip", "sound", "recording of motion sensors". */
const nounOf = (modality: string): string => BUILT_IN.get(modality)?.about.replace(/^an? /, "").split(/[,:]/)[0] ?? modality;
const PROMPTS: SynthesisPrompts = {
  told: (question, description) => `${description}\n\n${question}\nAnswer in as few words as it takes.`,
  blind: (question) => `${question}\nAnswer in as few words as it takes. If you cannot know, say what is most likely.`,
};

/** A pair on its way. */
interface Candidate extends Exchange {
  /** Of the texts, which one. */
  text: number;
}
/** One text of one kind about one medium. */
interface Asked {
  medium: DescribedMedium;
  kind: SynthesisKind;
  noun: string;
  description: string;
  draw: Draw;
}

/**
 * Writes rows in LLaVA's layout, JSONL, which training reads as it is: `model` is told captions, things and places of each medium, never the medium. The same
 * model, options and seed give the same rows. Throws E_VALUE on options out of range, E_DATA without captions and annotations.
 */
export async function synthesize(model: Answering, options: SynthesizeOptions): Promise<SynthesisReport> {
  const { kinds, each, batch, limit } = checked(options);
  const media = (await described(options)).slice(0, limit);
  const report: SynthesisReport = {
    media: media.length,
    texts: 0,
    malformed: 0,
    pairs: 0,
    unsure: 0,
    guessed: 0,
    refused: 0,
    kept: 0,
    rows: 0,
    unasked: 0,
  };
  await writeLines(options.output, async (add) => {
    let waiting: Asked[] = [];
    const work = async () => {
      for (const row of await written(model, waiting, options, report)) await add(row);
      waiting = [];
      options.onProgress?.({ ...report });
    };
    for (const medium of media) {
      const noun = nounOf(medium.modality);
      const description = descriptionOf(medium);
      for (const kind of kinds)
        for (let i = 0; i < each; ++i) {
          const draw = new Draw(options.seed ?? 0, `${medium.path}/${kind.name}/${i}`);
          waiting.push({ medium, kind, noun, description, draw });
        }
      if (waiting.length >= batch) await work();
    }
    if (waiting.length) await work();
  });
  return report;
}

function checked(options: SynthesizeOptions) {
  checkOptions("synthesize", options, OPTIONS);
  checkOptions("synthesize: sampling", options.sampling, SAMPLING);
  const { captions, annotations, kinds = Object.keys(SYNTHESIS_KINDS) as SynthesisName[], each = 1, batch = 32 } = options;
  const { limit = Number.MAX_SAFE_INTEGER, threshold = 0.6 } = options;
  if (captions === undefined && annotations === undefined)
    throw new DataError("E_DATA", options.output, undefined, "captions or annotations", "none", "pass what people said of the media");
  for (const [name, value] of Object.entries({ each, batch, limit }))
    if (!(Number.isInteger(value) && value >= 1)) throw expected("E_VALUE", `synthesize: ${name}`, "an integer of at least 1", value);
  if (!(threshold > 0 && threshold <= 1)) throw expected("E_VALUE", "synthesize: threshold", "a number above 0, 1 at most", threshold);
  const known = kinds.map((kind): SynthesisKind => {
    if (typeof kind !== "string") return kind;
    if (!Object.hasOwn(SYNTHESIS_KINDS, kind))
      throw expected("E_VALUE", "synthesize: kinds", `some of ${Object.keys(SYNTHESIS_KINDS).join(", ")}`, kind);
    return SYNTHESIS_KINDS[kind];
  });
  if (!known.length) throw expected("E_VALUE", "synthesize: kinds", "at least one", "none");
  return { kinds: known, each, batch, limit };
}

/** The rows of some texts, in their order. */
async function written(model: Answering, asked: readonly Asked[], options: SynthesizeOptions, report: SynthesisReport): Promise<object[]> {
  const { sampling = {}, seed = 0, prompts = PROMPTS, verify = true, needsMedium = true, keep, output } = options;
  const first = report.texts;
  const ask = asking(model, options, report);
  const requests = asked.map(({ kind, noun, description }): PromptInput => {
    const system = kind.system(noun);
    const user = { role: "user", content: [kind.request(description, noun)] } as const;
    return system ? [{ role: "system", content: [system] }, user] : [user];
  });
  const texts = await ask(requests, { temperature: 0.7, topP: 0.9, maxNewTokens: 512, ...sampling, seed: seed + first });
  report.texts += texts.filter((text) => text !== undefined).length;
  let candidates = texts.flatMap((text, i): Candidate[] => {
    if (text === undefined) return [];
    const { kind, draw, noun } = asked[i] as Asked;
    const found = kind.parse(text, draw, noun);
    if (!found.length) ++report.malformed;
    return found.map((exchange) => ({ ...exchange, text: i }));
  });
  candidates = once(candidates, asked);
  report.pairs += candidates.length;
  /** Those whose other answer is, or is not, the same; the count of the others. */
  const same = async (wanted: boolean, again: (one: Candidate) => PromptInput): Promise<number> => {
    const some = candidates.filter(({ text }) => (asked[text] as Asked).kind.checked);
    const answers = await ask(some.map(again), { maxNewTokens: 64 });
    const dropped = new Set<Candidate>();
    let count = 0;
    for (const [i, one] of some.entries()) {
      const answer = answers[i];
      if (answer !== undefined && agreement(one.answer, answer) >= (options.threshold ?? 0.6) === wanted) continue;
      dropped.add(one);
      if (answer !== undefined) ++count;
    }
    candidates = candidates.filter((one) => !dropped.has(one));
    return count;
  };
  if (verify) report.unsure += await same(true, ({ question, text }) => prompts.told(question, (asked[text] as Asked).description));
  if (needsMedium) report.guessed += await same(false, ({ question }) => prompts.blind(question));
  if (keep) {
    const verdicts = await Promise.all(
      candidates.map((one) => keep({ question: one.question, answer: one.answer }, (asked[one.text] as Asked).medium)),
    );
    report.refused += verdicts.filter((verdict) => !verdict).length;
    candidates = candidates.filter((_, i) => verdicts[i]);
  }
  report.kept += candidates.length;
  return asked.flatMap((one, i) => {
    const own = candidates.filter(({ text }) => text === i);
    return own.length ? [rowOf(`synthetic-${report.rows++}`, one, own, output)] : [];
  });
}

/** Asks in the batches of the options; what cannot be asked is told, and counted. */
function asking(model: Answering, { batch = 32, signal, onProblem, output }: SynthesizeOptions, report: SynthesisReport) {
  return (prompts: readonly PromptInput[], generation: AnswerOptions) => {
    const unasked = (_: number, cause: Error) => {
      ++report.unasked;
      const wanted = "a question that the model can be asked";
      onProblem?.(new DataError("E_ROW", output, undefined, wanted, cause.message, "shorten the description", { cause }));
    };
    return answersTo(model, prompts, { batch, ...generation, ...(signal && { signal }) }, onProblem && unasked);
  };
}

/** Each question of a medium once. */
function once(candidates: readonly Candidate[], asked: readonly Asked[]): Candidate[] {
  const seen = new Set<string>();
  return candidates.filter(({ question, text }) => {
    const key = `${(asked[text] as Asked).medium.path}\n${question.toLowerCase()}`;
    return !seen.has(key) && seen.add(key);
  });
}

function rowOf(id: string, { medium: { modality, path }, kind }: Asked, pairs: readonly Exchange[], output: string): object {
  const file = relative(dirname(resolve(output)), path)
    .split(sep)
    .join("/");
  const conversations = pairs.flatMap(({ question, answer }, i) => [
    { from: "human", value: i ? question : `<${modality}>\n${question}` },
    { from: "gpt", value: answer },
  ]);
  return { id, [modality]: file, kind: kind.name, conversations };
}
