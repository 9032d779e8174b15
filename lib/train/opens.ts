// What a stage opens: patterns over the names of a model's parameters. `projectors.<modality>.…`, `llm.…`, `adapters.<name>.…`, `tokens.…`; * stands for any letters.

import { TOKENS } from "../anymal/added-tokens.js";
import type { AnyMAL } from "../anymal/anymal.js";
import { weightsOf } from "../anymal/parts.js";
import type { Tensor } from "../core/tensor.js";
import { isStandardize } from "../models/bridges/feature-norm.js";
import type { Bridge } from "../models/bridges/kind.js";
import { QuantizedLinear } from "../nn/quantized-linear.js";
import { RecipeError } from "./schema.js";

/** A parameter by the name that patterns speak of. */
export type Openable = readonly [name: string, tensor: Tensor];

export const ADAPTER = "adapters.default.";

/** `patterns`: adapters and a language model that they cannot speak of are not walked through. */
export function* openables(model: AnyMAL, patterns: readonly string[] = ["*"]): Generator<Openable> {
  const about = (prefix: string) => patterns.some((pattern) => mayBegin(pattern, prefix));
  for (const modality of model.modalities) {
    const bridge = model.projector(modality);
    const fixed = measured(bridge);
    for (const [name, tensor] of bridge.namedParameters(`projectors.${modality}`)) if (!fixed.has(tensor)) yield [name, tensor];
  }
  for (const [name, adapter] of model.adapters) {
    if (!about(prefixOf(name))) continue;
    for (const [key, tensor] of adapter.namedParameters()) yield [`${prefixOf(name)}${key}`, tensor];
  }
  if (about("llm.")) yield* weightsOf(model.llm);
}

function mayBegin(pattern: string, prefix: string): boolean {
  const fixed = pattern.split("*", 1)[0] as string;
  return fixed.startsWith(prefix) || (fixed !== pattern && prefix.startsWith(fixed));
}

/** Of the names of an adapter's parameters. */
export const prefixOf = (adapter: string): string => (adapter === TOKENS ? `${TOKENS}.` : `adapters.${adapter}.`);

/** Statistics of features, which are measured and never trained, and what a bridge keeps as it is. */
const measured = ({ input, fixed = [] }: Bridge): Set<Tensor> => new Set([...(isStandardize(input) ? input.parameters() : []), ...fixed]);

/** Does one of the patterns speak of this name? */
export function speaksOf(patterns: readonly string[]): (name: string) => boolean {
  const all = patterns.map((pattern) => new RegExp(`^${pattern.split("*").map(escaped).join(".*")}$`, "s"));
  return (name) => all.some((one) => one.test(name));
}
const escaped = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");

/** Throws E_RECIPE where a pattern opens nothing, or weights that cannot train. `at`: the option in words. */
export function checkOpens(model: AnyMAL, patterns: readonly string[], at: string): void {
  const names = Array.from(openables(model), ([name]) => name);
  const codes = quantised(model);
  for (const pattern of patterns) {
    const fits = speaksOf([pattern]);
    const held = codes.find(fits);
    if (held !== undefined)
      throw new RecipeError(
        at,
        "patterns over weights that can train",
        pattern,
        `"${held}" is quantised: assemble the model with quantization "none", name others, or leave it to lora`,
      );
    if (!names.some(fits))
      throw new RecipeError(at, "patterns that speak of a parameter", pattern, `there are ${kindsOf(names).join(", ")}`);
  }
}

function quantised({ llm }: AnyMAL): string[] {
  const names: string[] = [];
  for (const [path, module] of llm.namedModules("llm")) if (module instanceof QuantizedLinear) names.push(`${path}.weight`);
  return names;
}

/** The first words of names, as patterns. */
const kindsOf = (names: readonly string[]): string[] => [
  ...new Set(
    names.map((name) => (/^(llm|tokens)\./.test(name) ? `${name.split(".", 1)[0]}.*` : `${name.split(".").slice(0, 2).join(".")}.*`)),
  ),
];

/** As the optimiser's state calls it: the default adapter's parameters have PEFT's own keys there. */
export const keyOf = (name: string): string => (name.startsWith(ADAPTER) ? name.slice(ADAPTER.length) : name);
export const nameOf = (key: string): string => (/^(projectors|adapters|tokens|llm)\./.test(key) ? key : `${ADAPTER}${key}`);
