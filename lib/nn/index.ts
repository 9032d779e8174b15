// What a Module of one's own is made of: layers, where their parameters come from, and what may be put around a layer.
export { Conv1d, Conv2d } from "./conv.js";
export { Embedding } from "./embedding.js";
export type { CacheType } from "./key-values.js";
export { type CacheOptions, KVCache } from "./kv-cache.js";
export { innermost, type Layer, type MakeWrap, type Plain, places, unwrap, Wrap, wrap, wrapAll, wrapsOn } from "./layer.js";
export { Linear, type LinearLayer, type LinearLayerOptions, storedLinear } from "./linear.js";
export { Module } from "./module.js";
export { GroupNorm, LayerNorm, RMSNorm } from "./norm.js";
export type { Sequence } from "./sequence.js";
export {
  type CheckpointOptions,
  type FreshOptions,
  fanIn,
  type Init,
  type OutlineOptions,
  ones,
  type Quantization,
  Weights,
  zeros,
} from "./weights.js";
