// The path of a picture in LLaMA-Adapter V2 as it was released (llama_adapter_v2_multimodal7b/llama/llama_adapter.py): learned queries stand before the
// encoder's rows, all go through blocks of a vision transformer, and the queries' rows go on to the language model, each through a layer between norms.
import { is } from "../../core/checks.js";
import { checkOptions, optionNames } from "../../core/options.js";
import { built, scope } from "../../core/scope.js";
import { Tensor } from "../../core/tensor.js";
import { EvaBlock, TIMM } from "../../nn/eva-block.js";
import { Linear } from "../../nn/linear.js";
import { Module, matching } from "../../nn/module.js";
import { LayerNorm } from "../../nn/norm.js";
import type { Weights } from "../../nn/weights.js";
import { add, concat, sliceCopy } from "../../ops/index.js";
import { type FeatureNorm, type FeatureNormKind, featureNorm } from "./feature-norm.js";
import { AT_MOST, type Bridge, type BridgeAsked, type BridgeComplete, type BridgeKind, COMMON, common, DIM, type Gives } from "./kind.js";

export interface QueryVitConfig {
  dim: number;
  dimLlm: number;
  /** Rows that it gives. */
  queries: number;
  layers: number;
  /** Of the blocks; their feed-forward is four times as wide. */
  width: number;
  heads: number;
  normalize?: FeatureNormKind | false | undefined;
  gives?: Gives | undefined;
}

const CONFIG = optionNames<QueryVitConfig>({
  ...{ dim: true, dimLlm: true, queries: true, layers: true, width: true, heads: true, normalize: true, gives: true },
});
const QUERY = "visual_query.weight";
const WIDER = 4;

/** Its parameters have the published names: clip_proj, visual_query, visual_blocks, visual_proj and their norms. */
export class QueryVitProjector extends Module implements Bridge {
  input: FeatureNorm | undefined;
  clipProj: Linear;
  clipProjNorm: LayerNorm;
  visualQuery: Tensor; // (K,w)
  visualBlocks: EvaBlock[];
  visualProj: Linear;
  visualProjNorm: LayerNorm;
  readonly config: QueryVitConfig;

  constructor(at: Weights, config: QueryVitConfig) {
    super();
    checkOptions("QueryVitProjector", config, CONFIG);
    const { dim, dimLlm, queries, layers, width, heads, normalize } = config;
    this.config = config;
    const block = { width, heads, hidden: WIDER * width, activation: "gelu", eps: 1e-5, layers, names: TIMM } as const;
    const linear = (name: string, from: number, to: number) => new Linear(at.at(name), from, to);
    [this.input, this.clipProj, this.clipProjNorm, this.visualQuery, this.visualBlocks, this.visualProj, this.visualProjNorm] = built(
      () => [
        featureNorm(at.at("input"), dim, normalize),
        linear("clip_proj", dim, width),
        new LayerNorm(at.at("clip_proj_norm"), width),
        at.parameter(QUERY, [queries, width], { normal: 1 }),
        Array.from({ length: layers }, (_, i) => new EvaBlock(at.at("visual_blocks").at(i), block)),
        linear("visual_proj", width, dimLlm),
        new LayerNorm(at.at("visual_proj_norm"), dimLlm),
      ],
    );
  }

  protected override stateName(field: string): string {
    return field === "visualQuery" ? QUERY : super.stateName(field);
  }

  get gives(): Gives {
    return this.config.gives ?? "rows";
  }
  rows(): number {
    return this.gives === "beside" ? 0 : this.config.queries;
  }

  /** (B,S,d), and (B,frames,S,d) frame after frame → (B,K,C). */
  forward(features: Tensor): Tensor {
    const { dim, queries, width } = this.config;
    return scope(() => {
      const B = features.shape[0] as number;
      const rows = features.rank > 3 ? features.reshape([B, -1, dim]) : features;
      const seen = this.clipProjNorm.forward(this.clipProj.forward(this.input?.forward(rows) ?? rows));
      const none = Tensor.zeros([B, queries, width], { device: seen.device, dtype: seen.dtype });
      let x = concat([add(none, matching(this.visualQuery, seen)), seen], 1);
      for (const block of this.visualBlocks) x = block.forward(x);
      return this.visualProjNorm.forward(this.visualProj.forward(sliceCopy(x, 1, 0, queries)));
    });
  }
}

export interface QueryVitOptions extends BridgeAsked {
  type: "query-vit";
  /** Learned queries, which are the rows that it gives. Default 10. */
  queries?: number;
  /** Blocks. Default 8. */
  layers?: number;
  /** Of the blocks. Default 768. */
  width?: number;
  /** Default 16. */
  heads?: number;
}
export interface QueryVitSetup extends QueryVitOptions, BridgeComplete {
  type: "query-vit";
  queries: number;
  layers: number;
  width: number;
  heads: number;
  normalize: FeatureNormKind | false;
}

export const queryVit: BridgeKind<QueryVitOptions, QueryVitSetup> = {
  title: "learned queries before the encoder's rows, blocks of a vision transformer over both, one linear layer between norms",
  options: {
    queries: is.upTo(AT_MOST.rows, 1),
    layers: is.upTo(AT_MOST.layers, 1),
    width: is.upTo(AT_MOST.width, 1),
    heads: is.upTo(AT_MOST.rows, 1),
    ...COMMON,
  },
  measured: DIM,
  select: () => ["all", "patch", "projected", "class"],
  complete: ({ queries = 10, layers = 8, width = 768, heads = 16, ...rest }, dim) => ({
    ...{ type: "query-vit", queries, layers, width, heads },
    ...common(rest, dim),
  }),
  misfit: ({ width, heads }) => (width % heads ? ["heads", `to divide its width ${width}`] : undefined),
  build: (at, { type: _, ...setup }, dimLlm) => new QueryVitProjector(at, { ...setup, dimLlm }),
  describe: ({ queries, layers, width }) => `${queries} queries through ${layers} blocks of ${width}`,
};
