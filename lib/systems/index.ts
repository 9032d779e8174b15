// All systems, one line each.
import { nearest } from "../core/checks.js";
import { expected } from "../core/errors.js";
import { anymal } from "./anymal.js";
import { blip2 } from "./blip-2.js";
import { flamingo } from "./flamingo.js";
import { instructblip } from "./instructblip.js";
import { lavin } from "./lavin.js";
import { llamaAdapter } from "./llama-adapter.js";
import { llamaAdapterV2 } from "./llama-adapter-v2.js";
import { llava } from "./llava.js";
import { llava15 } from "./llava-1.5.js";
import { minigpt4 } from "./minigpt4.js";
import { mmicl } from "./mmicl.js";
import { otter } from "./otter.js";
import { pink } from "./pink.js";
import type { System } from "./system.js";
import { videoChatgpt } from "./video-chatgpt.js";

/** Systems of the literature by name, as AnyMAL.assemble's `system` takes it: what each is made of, and what its stages train. */
export const SYSTEMS = {
  anymal,
  flamingo,
  "llama-adapter": llamaAdapter,
  "llama-adapter-v2": llamaAdapterV2,
  lavin,
  llava,
  "llava-1.5": llava15,
  minigpt4,
  mmicl,
  "blip-2": blip2,
  instructblip,
  otter,
  pink,
  "video-chatgpt": videoChatgpt,
} as const satisfies Readonly<Record<string, System>>;

export type SystemName = keyof typeof SYSTEMS;
export const SYSTEM_NAMES = Object.keys(SYSTEMS) as readonly SystemName[];
export const DEFAULT_SYSTEM: SystemName = "anymal";

export const isSystem = (name: string): name is SystemName => Object.hasOwn(SYSTEMS, name);

/** What is wrong with a name: for E_VALUE, E_RECIPE and flags alike. */
export function systemProblem(name: unknown): { wanted: string; next: string } | undefined {
  if (typeof name === "string" && isSystem(name)) return undefined;
  const wanted = `one of ${SYSTEM_NAMES.join(", ")}`;
  if (typeof name !== "string") return { wanted, next: "anymal systems lists them" };
  const near = nearest(name, SYSTEM_NAMES);
  return { wanted, next: near ? `did you mean "${near}"?` : "anymal systems lists them" };
}

/** By its name; throws E_VALUE with the nearest one. */
export function systemOf(name: string, where = "system"): System {
  const problem = systemProblem(name);
  if (problem) throw expected("E_VALUE", where, problem.wanted, JSON.stringify(name), problem.next);
  return SYSTEMS[name as SystemName];
}
