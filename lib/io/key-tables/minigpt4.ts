// MiniGPT-4's published files (github.com/Vision-CAIR/MiniGPT-4): the one linear layer that was trained, which the bridge concat-linear has under its own
// name. With Llama-2 it reads four patches of 1408 at a time; the older one reads a Q-Former's rows, and the two are often taken for each other.
import type { KeyTable, Known } from "./table.js";

const WEIGHT = "llama_proj.weight";
/** Of a Q-Former's rows. */
const QFORMER = 768;

function check(known: Known): void {
  const width = known.size(WEIGHT, 1);
  if (width === QFORMER)
    known.fail(
      `"${WEIGHT}" of the form with Llama-2, which reads four patches at a time ([4096, 5632])`,
      `[${known.shapes.get(WEIGHT)}], of the older form, which reads a Q-Former's rows`,
    );
  known.size("llama_proj.bias", 0);
}

export const minigpt4: KeyTable = {
  name: "minigpt4",
  system: "MiniGPT-4 with Llama-2",
  marks: [/^llama_proj\.weight$/],
  rules: [],
  files: (known) => {
    check(known);
    return {};
  },
};
