// Answers to a batch of prompts, planned as a stage is.
import type { AnyMAL } from "../anymal/anymal.js";
import type { Row } from "../data/row.js";
import { bytesOfParts, countOf } from "./parts.js";
import type { PlannedStage } from "./report.js";
import { madeUpRows, mediaIn, textTokens } from "./rows.js";
import type { Mark, Traced } from "./traced.js";

export interface GeneratingOptions {
  /** Prompts together (default 1), new tokens of each (256), and what keys and values are kept as. */
  prompts?: number;
  newTokens?: number;
  kvCache?: "bf16" | "int8";
  /** Of a prompt: tokens of text (64), media of each kind (1), seconds of sounds and recordings (10). */
  tokens?: number;
  media?: number;
  seconds?: number;
}

export async function generating(
  traced: Traced,
  model: AnyMAL,
  { share, memory, ...options }: GeneratingOptions & { share: number; memory: number },
): Promise<PlannedStage> {
  const { prompts = 1, newTokens = 256, kvCache, tokens = 64, media = 1, seconds = 10 } = options;
  const loaded = await traced.memory();
  const loading = loaded.bytesPeak + traced.scratch;
  const rows = madeUpRows(model, prompts, { modalities: model.modalities, tokens, media, seconds });
  const asked = rows.map(({ turns }) => turns.slice(0, 1));
  const answers = async (maxNewTokens: number): Promise<Mark> => {
    const { flops, seconds } = traced.costs;
    await model.generateAll(asked, { batch: prompts, maxNewTokens, eosTokenId: [], ...(kvCache && { kvCache }) });
    return { flops: traced.costs.flops - flops, seconds: traced.costs.seconds - seconds };
  };
  const read = await answers(1);
  traced.device.resetPeak();
  const all = newTokens > 1 ? await answers(newTokens) : read;
  const { bytesPeak } = await traced.memory();
  const [row] = rows as [Row];
  const textLength = textTokens(model, { ...row, turns: row.turns.slice(0, 1) });
  const inRow = await mediaIn(model, row);
  const length = textLength + inRow.positions;
  const cache = cacheBytes(model, prompts, length + newTokens, kvCache);
  const written = Math.max(1, newTokens - 1); // the prompt gives the first
  const perToken = (all.seconds - read.seconds) / written / share;
  const peak = bytesPeak + traced.scratch;
  const inAll = read.seconds / share + perToken * (newTokens - 1);
  return {
    stage: "generate",
    settings: {
      ...{ prompts, newTokens, dtype: model.llm.dtype, quantization: model.quantization?.format ?? "none" },
      kvCache: kvCache ?? model.llm.dtype,
    },
    ...{ length, textTokens: textLength, parameters: { all: countOf(model), trained: 0 } },
    bytes: {
      ...bytesOfParts(model, loaded.bytesInUse),
      ...{ added: 0, gradients: 0, moments: 0, cache },
      ...{ activations: bytesPeak - loaded.bytesInUse - cache, scratch: traced.scratch, peak, loading },
    },
    time: {
      ...{
        flopsPerStep: (all.flops - read.flops) / written,
        floorPerStep: perToken * share,
        secondsPerStep: perToken,
        secondsPerMedium: 0,
        share,
      },
      ...{ tokensPerSecond: perToken ? prompts / perToken : 0, stepsPerEpoch: undefined, secondsPerEpoch: undefined, secondsInAll: inAll },
    },
    fits: Math.max(peak, loading) <= memory,
    featureBytes: inRow.bytes,
  };
}

/** Of keys and values: two numbers for each channel, or codes with a scale for each position and head. */
export function cacheBytes({ llm }: AnyMAL, rows: number, positions: number, type?: "bf16" | "int8"): number {
  const { layers, kvHeads, headDim, maxPositions } = llm.config;
  const width = type === "int8" ? 1 : (type ?? llm.dtype) === "bf16" ? 2 : 4;
  const places = 2 * layers * rows * Math.min(positions, maxPositions) * kvHeads;
  return places * (headDim * width + (type === "int8" ? 4 : 0));
}
