// How checkpoints spell the parts of a vision transformer. What a block is made of is no matter of spelling: its configuration says that, and what
// is stored.
interface Spelling {
  /** The list of blocks. */
  list: string;
  block: Readonly<Record<"norm1" | "attention" | "norm2" | "mlp", string>> & { scale1?: string; scale2?: string };
  attention: Readonly<Record<"q" | "k" | "v" | "out", string>> & { qBias?: string; vBias?: string };
  mlp: MlpNames;
  /** Where gate and up are rows of one matrix. */
  gated?: MlpNames;
}
export interface MlpNames {
  fc1: string;
  fc2: string;
}

const SEPARATE = { q: "q_proj", k: "k_proj", v: "v_proj", out: "out_proj" };
const BERT = { q: "attention.query", k: "attention.key", v: "attention.value", out: "output.dense" };

export const VIT_SPELLINGS = {
  /** CLIP and SigLIP in transformers. */
  huggingface: {
    list: "layers",
    block: { norm1: "layer_norm1", attention: "self_attn", norm2: "layer_norm2", mlp: "mlp" },
    attention: SEPARATE,
    mlp: { fc1: "fc1", fc2: "fc2" },
  },
  /** CLIP of OpenAI and OpenCLIP, and ViCLIP. */
  openai: {
    list: "resblocks",
    block: { norm1: "ln_1", attention: "attn", norm2: "ln_2", mlp: "mlp" },
    attention: SEPARATE,
    mlp: { fc1: "c_fc", fc2: "c_proj" },
  },
  dinov2: {
    list: "layer",
    block: {
      norm1: "norm1",
      attention: "attention",
      scale1: "layer_scale1.lambda1",
      norm2: "norm2",
      mlp: "mlp",
      scale2: "layer_scale2.lambda1",
    },
    attention: BERT,
    mlp: { fc1: "fc1", fc2: "fc2" },
    gated: { fc1: "weights_in", fc2: "weights_out" },
  },
  /** The encoders of Whisper and Qwen2-Audio. */
  whisper: {
    list: "layers",
    block: { norm1: "self_attn_layer_norm", attention: "self_attn", norm2: "final_layer_norm", mlp: "" },
    attention: SEPARATE,
    mlp: { fc1: "fc1", fc2: "fc2" },
  },
  videomae: {
    list: "layer",
    block: { norm1: "layernorm_before", attention: "attention", norm2: "layernorm_after", mlp: "" },
    attention: { ...BERT, qBias: "attention.q_bias", vBias: "attention.v_bias" },
    mlp: { fc1: "intermediate.dense", fc2: "output.dense" },
  },
} as const satisfies Record<string, Spelling>;
export type VitNames = keyof typeof VIT_SPELLINGS;

export const spellingOf = (names: VitNames): Spelling => VIT_SPELLINGS[names];
