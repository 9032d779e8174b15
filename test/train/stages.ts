// What the tests of both stages share: a model of the toy world's pictures, its options, what a run yields, and the bytes of what trains.
import { AnyMAL } from "../../lib/anymal/anymal.js";
import type { AssembleOptions } from "../../lib/anymal/options.js";
import type { TrainStep } from "../../lib/train/step-report.js";
import type { Toy } from "../anymal/toy.js";

export const ALIGN = { modality: "image", batch: 4, microBatch: 4, learningRate: 1e-2, warmupSteps: 2, schedule: "constant" } as const;

export async function assembledIn(world: Toy, more: Partial<AssembleOptions> = {}): Promise<AnyMAL> {
  return AnyMAL.assemble(world.options({ modalities: { image: world.options().modalities.image! }, ...more }));
}
export async function all(steps: AsyncIterable<TrainStep>): Promise<TrainStep[]> {
  const list: TrainStep[] = [];
  for await (const step of steps) list.push(step);
  return list;
}
export async function weights(model: AnyMAL, adapter = false): Promise<Map<string, Uint8Array>> {
  const parameters = [...model.projector("image").namedParameters(), ...(adapter ? (model.adapter?.namedParameters() ?? []) : [])];
  return new Map(await Promise.all(parameters.map(async ([name, p]) => [name, new Uint8Array(await p.bytes())] as const)));
}
export const rejection = async (run: () => Promise<unknown>): Promise<Error & { code: string }> => {
  try {
    await run();
  } catch (error) {
    return error as Error & { code: string };
  }
  throw new Error("expected a rejection");
};
/** What the folder of a run holds that was asked for nothing more. */
export const RUN_FILES = ["checkpoint", "log.jsonl", "origin.json", "recipe.yaml", "start", "trainer_log.jsonl", "weights.jsonl"];
