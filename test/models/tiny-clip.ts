// A CLIP of two layers with weights from a seed, and texts for it.
import type { ClipConfig } from "../../lib/models/clip-config.js";
import { Weights } from "../../lib/nn/weights.js";
import { here } from "../case.js";

export const tiny: ClipConfig = {
  vision: {
    imageSize: 8,
    patchSize: 4,
    channels: 3,
    hiddenSize: 8,
    intermediateSize: 12,
    layers: 2,
    heads: 2,
    activation: "quick_gelu",
    layerNormEps: 1e-5,
    projectionDim: 6,
  },
  text: {
    vocabSize: 11,
    maxPositions: 7,
    eosTokenId: 10,
    hiddenSize: 8,
    intermediateSize: 12,
    layers: 2,
    heads: 2,
    activation: "quick_gelu",
    layerNormEps: 1e-5,
    projectionDim: 6,
  },
  logitScaleInit: 2.6592,
};
export const TEXTS = [
  [1, 4, 2, 10],
  [1, 7, 10, 3, 3, 9, 10],
  [5, 10],
];
export const fresh = (trainable = false) => Weights.fresh({ device: here, seed: 5, trainable });
