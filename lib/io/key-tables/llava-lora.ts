// What LLaVA's own LoRA runs write (github.com/haotian-liu/LLaVA): PEFT's adapter, and in non_lora_trainables.bin the bridge that trained beside it, under
// the names of the wrapped model. They become a folder that is opened as it is: the bridge in mm_projector.safetensors, the adapter as PEFT has it.
import type { KeyTable } from "./table.js";

const BRIDGE = "model.mm_projector.";

export const llavaLora: KeyTable = {
  name: "llava-lora",
  system: "LLaVA's LoRA runs",
  marks: [/^base_model\.model\.model\.mm_projector\./],
  rules: [{ from: /^base_model\.model\.(model\.mm_projector\..+)$/, to: "$1" }],
  fileOf: (name) => (name.startsWith(BRIDGE) ? "mm_projector.safetensors" : "adapter_model.safetensors"),
};
