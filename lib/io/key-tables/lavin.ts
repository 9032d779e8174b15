// LaVIN's checkpoints (github.com/luogen1996/LaVIN): what was trained, in one dict. It becomes the adapter of the language model, that of the image tower in a
// folder of its own, and the projection of class tokens as a bridge.
import type { Json, KeyTable, Known } from "./table.js";

const PART = /(conv_[ABD]|expert_weights)\.(weight|bias)$/.source;
const FIRST = "model.layers.0.adapter_attn";
const TOWER = "encoder.layers.";

function mixture(known: Known, at: string, temperature: number): Json {
  const [hidden, own] = [known.size(`${at}.conv_A.weight`, 0), known.size(`${at}.conv_B.weight`, 1)];
  if (!known.has(`${at}.conv_D.weight`))
    known.fail("two experts and a router in each block, of --visual_adapter_type router", `no "${at}.conv_D.weight"`);
  return { kind: "lavin", hidden, groups: hidden / own, t: temperature, s: 1, dropout: 0.1 };
}

export const lavin: KeyTable = {
  name: "lavin",
  system: "LaVIN",
  marks: [/^adapter_modality_embedding\.weight$/, /^layers\.0\.adapter_attn\.conv_A\.weight$/, /^adapter_proj\.conv_A\.weight$/],
  rules: [
    { from: new RegExp(`^layers\\.(\\d+)\\.adapter_attn\\.${PART}`), to: "model.layers.$1.adapter_attn.$2.$3" },
    {
      from: new RegExp(`^backbone\\.visual\\.transformer\\.resblocks\\.(\\d+)\\.adapter_attn\\.${PART}`),
      to: `${TOWER}$1.adapter_attn.$2.$3`,
    },
    { from: /^adapter_proj\.conv_A\.(weight|bias)$/, to: "linear_1.$1" },
    { from: /^adapter_proj\.conv_B\.(weight|bias)$/, to: "linear_2.$1" },
  ],
  fileOf: (name) => (name.startsWith("linear_") ? "projector.safetensors" : `${name.startsWith(TOWER) ? "image/" : ""}adapter.safetensors`),
  files: (known) => {
    // Not in the file: its script has 10 for 7 B and 5 for 13 B.
    const temperature = known.size("adapter_modality_embedding.weight", 1) === 5120 ? 5 : 10;
    return {
      "adapter_config.json": mixture(known, FIRST, temperature),
      "image/adapter_config.json": mixture(known, `${TOWER}0.adapter_attn`, temperature),
      "projector.json": {
        ...{ type: "mlp", hidden: known.size("linear_1.weight", 0), activation: "silu", bias: true, normalize: false },
        dim: known.size("linear_1.weight", 1),
      },
    };
  },
};
