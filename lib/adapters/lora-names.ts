// Names in an adapter's files that mean nothing here, which a wrong model would follow from if they were passed over without a word.
import { notice } from "../core/notice.js";
import type { WeightSource } from "../io/checkpoint.js";
import { type LoraConfig, LoraConfigError, patternMatches } from "./lora-config.js";
import { ROOT } from "./overlays.js";

/** How other tools name and lay out their factors; none of them can be read as PEFT's. */
const OTHERS: readonly [RegExp, string][] = [
  [
    /\.lora_[ab]$/,
    "as mlx-lm writes them, transposed: convert the adapter to PEFT's layout, or fuse it with mlx_lm.fuse and load the model",
  ],
  [/\.lora_(down|up)\.weight$|^lora_(unet|te)/, "as kohya's scripts write them: convert the adapter to PEFT's layout"],
  [
    /^base_model\.model\.base_model\.model\./,
    "as PEFT writes a model that it wrapped twice: save the adapter again from the model it was trained on",
  ],
  [
    /\.lora_[AB]\.(?!weight$|default\.weight$)[^.]+\.weight$/,
    "with the adapter's name in it, as torch.save keeps it: save it with PEFT's save_pretrained()",
  ],
];

/** Throws E_LORA, with one of the names, where a file's are not those that PEFT writes. */
export function checkNames(checkpoint: WeightSource): void {
  const all = [...checkpoint.names()];
  for (const [pattern, what] of OTHERS) {
    const odd = all.find((name) => pattern.test(name));
    if (odd) throw new LoraConfigError(`PEFT's names (${ROOT}.….lora_A.weight) in ${checkpoint.path}`, `"${odd}", ${what}`);
  }
  const odd = all.find((name) => !name.startsWith(`${ROOT}.`));
  if (odd)
    throw new LoraConfigError(
      `names that begin with ${ROOT} in ${checkpoint.path}`,
      `"${odd}"; save the adapter with PEFT's save_pretrained()`,
    );
}

/** Keys of the configuration without effect: PEFT warns of the patterns too. */
export function tellUnmatched(config: LoraConfig, targets: readonly string[], modules: readonly string[]): void {
  const { targetModules, rankPattern, alphaPattern } = config;
  const told = (what: string, names: readonly string[]) =>
    names.length && notice("ANYMAL_LORA_UNMATCHED", `LoRA: ${what} ${names.join(", ")} match none of the modules, and are without effect`);
  const unmatched = (patterns: object) => Object.keys(patterns).filter((key) => !targets.some((path) => patternMatches(config, key, path)));
  told("the rank_pattern keys", unmatched(rankPattern));
  told("the alpha_pattern keys", unmatched(alphaPattern));
  if (typeof targetModules === "string") return;
  told(
    "the target_modules",
    targetModules.filter((name) => !modules.some((path) => path === name || path.endsWith(`.${name}`))),
  );
}
