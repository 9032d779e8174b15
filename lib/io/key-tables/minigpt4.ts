// MiniGPT-4's published files (github.com/Vision-CAIR/MiniGPT-4): the one linear layer that was trained. With Llama-2 it reads four patches of 1408 at a time, and is
// the bridge concat-linear, under its own name; the older one reads a Q-Former's rows of 768, and is a part of that bridge. The two are often taken for each other.
import type { Json, KeyTable, Known } from "./table.js";

const [WEIGHT, BIAS] = ["llama_proj.weight", "llama_proj.bias"];
/** Of a Q-Former's rows. */
const QFORMER = 768;
const PATCHES = 4;

function projector(known: Known): Readonly<Record<string, Json>> {
  const inputs = known.size(WEIGHT, 1);
  known.size(BIAS, 0);
  if (inputs === QFORMER)
    known.fail(
      `"${WEIGHT}" of the form with Llama-2, which reads four patches at a time ([4096, 5632]), or a Q-Former beside it`,
      `[${known.shapes.get(WEIGHT)}], of the older form, which reads a Q-Former's rows: put LAVIS' blip2_pretrained_flant5xxl.pth into one folder with it, and convert that`,
    );
  if (inputs % PATCHES) known.fail(`"${WEIGHT}" that reads ${PATCHES} patches at a time`, `[${known.shapes.get(WEIGHT)}]`);
  return { "projector.json": { type: "concat-linear", patches: PATCHES, normalize: false, dim: inputs / PATCHES } };
}

export const minigpt4: KeyTable = {
  name: "minigpt4",
  system: "MiniGPT-4",
  marks: [/^llama_proj\.weight$/],
  rules: [],
  files: projector,
};
