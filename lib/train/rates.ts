// Learning rates and decay of their own for some of what trains: LLaVA's projection goes slower than the LoRA beside it.
import type { Tensor } from "../core/tensor.js";
import { nameOf, speaksOf } from "./opens.js";
import { decayMatricesOnly, type ParameterGroup } from "./optimizer.js";
import { RecipeError } from "./schema.js";

/** Some of the parameters that train, and what is another for them. */
export interface RateGroup {
  /** Patterns over names, as in `opens`; of several groups the first that speaks of a parameter has it. */
  names: string | readonly string[];
  /** Default: the stage's. The schedule goes over both. */
  learningRate?: number;
  /** Default: the stage's. On matrices only. */
  weightDecay?: number;
}

type Parameters = readonly (readonly [string, Tensor])[];

export const listed = (patterns: string | readonly string[]): readonly string[] => (typeof patterns === "string" ? [patterns] : patterns);

/** Of each group what it has of them, and what no group has. */
function divided(groups: readonly RateGroup[], parameters: Parameters): { own: Parameters[]; rest: Parameters } {
  let rest = parameters;
  const own = groups.map(({ names }) => {
    const fits = speaksOf(listed(names));
    const mine = rest.filter(([key]) => fits(nameOf(key)));
    rest = rest.filter(([key]) => !fits(nameOf(key)));
    return mine;
  });
  return { own, rest };
}

/** Throws E_RECIPE where a group speaks of nothing that trains. `at`: the stage in words. */
export function checkGroups(groups: readonly RateGroup[], parameters: Parameters, at: string): void {
  const empty = divided(groups, parameters).own.findIndex(({ length }) => !length);
  if (empty < 0) return;
  const remedy = `${parameters.map(([key]) => nameOf(key)).slice(0, 2).join(", ")} and others train`; // biome-ignore format: one line
  throw new RecipeError(`${at}.groups.${empty}.names`, "patterns over what trains", groups[empty]?.names, remedy);
}

/** For the loop. */
export function groupsOf(groups: readonly RateGroup[], learningRate: number) {
  return (parameters: Parameters, weightDecay: number): ParameterGroup[] => {
    const { own, rest } = divided(groups, parameters);
    const others = groups.flatMap(({ learningRate: rate = learningRate, weightDecay: decay = weightDecay }, i) => {
      const lrScale = rate === learningRate ? 1 : rate / learningRate;
      return decayMatricesOnly(own[i] as Parameters, decay).map((group) => ({ ...group, lrScale }));
    });
    return [...decayMatricesOnly(rest, weightDecay), ...others];
  };
}
