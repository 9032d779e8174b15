// How a system takes a kind of media, where the options of an assembly do not say it.
import { expected } from "../core/errors.js";
import type { Modality } from "../media/part.js";
import type { BridgeOptions } from "../models/bridges/index.js";
import type { System, SystemModality } from "../systems/system.js";

/** How the system takes a kind of media; throws E_MODALITY where it does not and the options do not say it either. */
export function modalityIn(system: System, modality: Modality, { projector }: { projector?: BridgeOptions }): SystemModality {
  const own = Object.hasOwn(system.modalities, modality) ? system.modalities[modality] : system.otherwise;
  if (own) return own;
  if (projector) return { projector };
  throw expected(
    "E_MODALITY",
    `modalities.${modality}`,
    `${Object.keys(system.modalities).join(", ")}, which ${system.name} takes`,
    modality,
    "give it a projector of its own, or take another system",
  );
}
