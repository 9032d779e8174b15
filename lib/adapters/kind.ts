// What a kind of adapter is: what it changes in a model, as a plan that is made whole before any of it is put in, and how its files spell it.

import type { Schema } from "../core/checks.js";
import { shown } from "../core/checks.js";
import { type AnymalError, expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import type { WeightSource } from "../io/checkpoint.js";
import type { MakeWrap, Wrap } from "../nn/layer.js";
import type { Module } from "../nn/module.js";
import type { Stored } from "../nn/overwriting.js";
import type { LeadSource } from "../nn/sequence.js";
import type { Weights } from "../nn/weights.js";
import type { Overlay } from "./exchange.js";

export type Fail = (expected: string, got: string) => AnymalError;
export type Json = Record<string, unknown>;

export interface AdapterPlan {
  /** Around which layers it puts something. */
  wraps: readonly (readonly [path: string, make: MakeWrap])[];
  /** Parameters of the base model that it has its own of. */
  overlays?: readonly Overlay[];
  /** What is no layer's own. */
  shared?: Module | undefined;
  /** What stands before the rows of the model. */
  lead?: LeadSource | undefined;
}

export interface AdapterKind<C extends object = object> {
  readonly name: string;
  /** Of its options. */
  readonly schema: Schema;
  readonly files: { readonly weights: string; readonly config: string };
  /** The options whole, what is left out as it is usual for the model. Throws what fail() makes on those that are unknown or out of range. */
  complete(options: Partial<C>, model?: Module): C;
  /**
   * Makes all that is to be put on `model`, of fresh tensors or of those of a file, and changes nothing. Every wrap is of `owner`. Throws where the
   * configuration does not fit the model.
   */
  plan(model: Module, config: C, at: Weights, owner: string): AdapterPlan;
  /** Of adapter_config.json, and back. */
  read(json: Json): C;
  write(config: C): Json;
  /** What the file calls the tensor `name` of the wrap at `path`; of the shared part at "". */
  key(path: string, name: string): string;
  /** What the file holds, where that is not each tensor under its key: tables that are joined, or written twice. */
  stored?(on: Attached<C>): Iterable<Stored>;
  fail: Fail;
  /** Throws where a file's names are those of another tool. */
  checkNames?(checkpoint: WeightSource): void;
  /** What a file holds beside what it was trained for. */
  beside?(model: Module, config: C, at: Weights): AsyncIterable<Overlay>;
  /** Told when its numbers are others than before: they were trained, or read anew. */
  moved?(on: Attached<C>): void;
  /** Told once it is on. */
  attached?(model: Module, config: C, paths: readonly string[]): void;
  /** A class of its own, where it has more to say than every adapter. */
  make?(on: Attached<C>): Attached<C>;
}

/** What attach() put on a model. An Adapter is one. */
export interface Attached<C extends object> {
  readonly name: string;
  readonly kind: AdapterKind<C>;
  readonly model: Module;
  readonly config: C;
  /** By path. */
  readonly wraps: ReadonlyMap<string, Wrap>;
  readonly overlays: readonly Overlay[];
  readonly shared: Module | undefined;
  readonly lead: LeadSource | undefined;
}

/** Options held to a kind's schema, over what it is without them. */
export function completed<C extends object>(
  kind: Pick<AdapterKind<C>, "name" | "schema" | "fail">,
  options: Partial<C>,
  defaults: C,
  others: Readonly<Record<string, string>> = {},
): C {
  const fail = (key: string, next: string) => kind.fail("options that are known", `"${key}"; ${next}`);
  checkOptions(kind.name, options, Object.keys(kind.schema), { others, fail });
  for (const [key, value] of Object.entries(options)) {
    const check = kind.schema[key];
    if (value !== undefined && check && !check.fits(value)) throw kind.fail(`${key} to be ${check.wanted}`, shown(value));
  }
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return { ...defaults, ...given };
}

/** Errors of the kinds that have no code of their own. */
export const adapterFault = (name: string) => (wanted: string, got: string) => expected("E_ADAPTER", name, wanted, got);
