// A model as a folder in Hugging Face layout: config.json and model.safetensors.
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { noGrad } from "../core/autograd.js";
import { expected } from "../core/errors.js";
import { Tensor } from "../core/tensor.js";
import { cast } from "../ops/index.js";
import { type HostTensor, saveSafetensors } from "./safetensors.js";

/** What saveModel needs of a Module. */
export interface Saveable {
  namedParameters(): Iterable<[string, Tensor]>;
  modules(): readonly object[];
  /** What the folder holds beside the parameters: buffers that other libraries look for. */
  hostState?(): Iterable<[string, HostTensor]>;
}

const WEIGHTS = "model.safetensors";
const INDEX = "model.safetensors.index.json"; // of an older, sharded model in the same folder: readers would prefer it
const CONFIG = "config.json";

/** Both files are whole on disk under temporary names before the first takes its place. Without `dtype` floats stay as they are. */
export async function saveModel(
  folder: string,
  module: Saveable,
  configJson: Readonly<Record<string, unknown>>,
  { dtype }: { dtype?: "f32" | "bf16" } = {},
): Promise<void> {
  refuseQuantized(module);
  await mkdir(folder, { recursive: true });
  const mark = `${process.pid}.${Math.random().toString(36).slice(2)}.tmp`;
  const temporary = (name: string) => join(folder, `.${name}.${mark}`);
  const casts: Tensor[] = [];
  const stored = Array.from(module.namedParameters(), ([name, tensor]): [string, Tensor] => {
    if (!dtype || tensor.dtype === dtype || !["f32", "bf16"].includes(tensor.dtype)) return [name, tensor];
    const converted = noGrad(() => cast(tensor, dtype));
    casts.push(converted);
    return [name, converted];
  });
  const half = stored.some(([, tensor]) => tensor.dtype === "bf16") && !stored.some(([, tensor]) => tensor.dtype === "f32");
  const config = { ...configJson, dtype: half ? "bfloat16" : "float32" };
  try {
    await saveSafetensors(temporary(WEIGHTS), [...stored, ...(module.hostState?.() ?? [])], { format: "pt" });
    await writeFile(temporary(CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    await rename(temporary(WEIGHTS), join(folder, WEIGHTS));
    await rename(temporary(CONFIG), join(folder, CONFIG));
    await rm(join(folder, INDEX), { force: true });
  } finally {
    for (const tensor of casts) tensor.dispose();
    for (const name of [WEIGHTS, CONFIG]) await rm(temporary(name), { force: true });
  }
}

function refuseQuantized(module: Saveable): void {
  for (const part of module.modules())
    if ("weight" in part && part.weight !== undefined && !(part.weight instanceof Tensor))
      throw expected(
        "E_STATE",
        "saveModel",
        "a model in full precision",
        "one with quantised weights",
        "save the checkpoint it was loaded from, and its adapter",
      );
}
