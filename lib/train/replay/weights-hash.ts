// weights.jsonl: what a run's weights are at its beginning and whenever it is saved, as a hash. Equal hashes are equal bits.
import { createHash } from "node:crypto";
import type { Tensor } from "../../core/tensor.js";

export const WEIGHTS = "weights.jsonl";

/** Of names, dtypes, shapes and bytes, one tensor after the other. */
export async function weightsHash(parameters: Iterable<readonly [string, Tensor]>): Promise<string> {
  const hash = createHash("sha256");
  for (const [name, tensor] of parameters) {
    hash.update(`${name}\0${tensor.dtype}\0${tensor.shape}\0`);
    hash.update(new Uint8Array(await tensor.bytes()));
  }
  return hash.digest("hex");
}
