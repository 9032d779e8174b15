// All kinds of bridges, one line each. Recipes, flags, checkpoints and inspect know them from here.
import { isObject, nearest, type Schema, shown } from "../../core/checks.js";
import type { Device } from "../../core/device.js";
import type { WeightSource } from "../../io/checkpoint.js";
import { Weights } from "../../nn/weights.js";
import { clipPooling } from "./clip-pool.js";
import { concatLinear } from "./concat-linear.js";
import type { Bridge, BridgeAsked, BridgeComplete, BridgeKind } from "./kind.js";
import { linear } from "./linear.js";
import { mlp } from "./mlp.js";
import { qFormer } from "./q-former.js";
import { queryVit } from "./query-vit.js";
import { resampler } from "./resampler.js";
import { isOneRow, type Select } from "./select.js";

export const BRIDGES = {
  resampler,
  linear,
  mlp,
  "concat-linear": concatLinear,
  "q-former": qFormer,
  "query-vit": queryVit,
  "clip-pool": clipPooling,
} as const;

type BridgeName = keyof typeof BRIDGES;
type OptionsOf<K> = K extends BridgeKind<infer O, infer _> ? O : never;
type SetupOf<K> = K extends BridgeKind<infer _, infer S> ? S : never;
/** What a modality's `projector` may say: `type` names the kind. */
export type BridgeOptions = { [N in BridgeName]: OptionsOf<(typeof BRIDGES)[N]> }[BridgeName];
/** The same with all defaults written out: what a checkpoint keeps. */
export type BridgeSetup = { [N in BridgeName]: SetupOf<(typeof BRIDGES)[N]> }[BridgeName];

export const BRIDGE_NAMES = Object.keys(BRIDGES) as readonly BridgeName[];

// A setup names its own kind, which the compiler cannot follow through the table.
type AnyKind = BridgeKind<BridgeAsked, BridgeAsked & BridgeComplete>;
const kindOf = ({ type }: { type: BridgeName }) => BRIDGES[type] as unknown as AnyKind;

/** What is wrong with the kind that `asked` names, and the nearest that there is. */
export interface NoKind {
  wanted: string;
  got: string;
  next: string;
}

/** Of a kind that nobody knows: why. */
export function kindProblem(asked: unknown): NoKind | undefined {
  const type = isObject(asked) ? asked.type : undefined;
  if (typeof type === "string" && Object.hasOwn(BRIDGES, type)) return undefined;
  const near = typeof type === "string" ? nearest(type, BRIDGE_NAMES) : undefined;
  return { wanted: `one of ${BRIDGE_NAMES.join(", ")}`, got: shown(type), next: near ? `did you mean "${near}"?` : "" };
}

/** Options beside `type` that the kind takes. */
export const optionsSchema = (asked: BridgeOptions): Schema => kindOf(asked).options;
/** What a checkpoint must say beside `type`. */
export const setupSchema = (setup: BridgeSetup): Schema => ({ ...kindOf(setup).options, ...kindOf(setup).measured });
export const setupMisfit = (setup: BridgeSetup) => kindOf(setup).misfit?.(setup);

/** What the bridge can read; the first is the default. */
export const selects = (asked: BridgeOptions): readonly Select[] => kindOf(asked).select(asked);
/** Does it read one row by itself, (d) in place of (S,d)? */
export const readsVector = (asked: BridgeOptions): boolean => selects(asked).every(isOneRow);
/** Does it read the question, by a tokenizer of its own? */
export const readsQuestion = (asked: BridgeOptions): boolean => kindOf(asked).reads?.(asked) ?? false;
export const completeBridge = (asked: BridgeOptions, dim: number, frames: number): BridgeSetup =>
  kindOf(asked).complete(asked, dim, frames) as BridgeSetup;
export const describeBridge = (setup: BridgeSetup): string => kindOf(setup).describe(setup);

/** By its setup, fresh or from a checkpoint. */
export const makeBridge = (at: Weights, setup: BridgeSetup, dimLlm: number): Bridge => kindOf(setup).build(at, setup, dimLlm);

/** From a file that holds this bridge and nothing else. Throws E_STATE where a weight is missing or left over; nothing stays on the device then. */
export function storedBridge(file: WeightSource, setup: BridgeSetup, device: Device, dimLlm: number): Bridge {
  const at = Weights.from(file, { device, dtype: "f32" });
  const bridge = makeBridge(at, setup, dimLlm);
  try {
    at.finish();
  } catch (error) {
    bridge.dispose();
    throw error;
  }
  return bridge;
}
