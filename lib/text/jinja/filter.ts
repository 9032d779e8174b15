import type { Kwargs, Value } from "./values.js";

/** `value | name(…)`. */
export type Filter = (value: Value, args: readonly Value[], kwargs: Kwargs) => Value;
