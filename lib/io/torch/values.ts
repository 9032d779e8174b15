// What a pickle holds, as data: containers, numbers and texts of JavaScript, and for all else something that does nothing.

/** null, true, numbers, bigint beyond exact integers, texts, Uint8Array for bytes, an array for a list, and the classes below. */
export type Value = unknown;

export class Tuple {
  constructor(readonly items: readonly Value[]) {}
}

/** dict, OrderedDict and their kin. As in Python a key that comes again keeps its place and takes the newer value. */
export class Dict {
  readonly map = new Map<Value, Value>();
}

export class PickledSet {
  readonly items: Value[] = [];
}

/** An object of an allowed class whose content nobody reads: what it was made of, and what its state is. */
export class Inert {
  state: Value = undefined;
  constructor(
    readonly name: string,
    readonly args: readonly Value[] = [],
  ) {}
}

/** A word that means something by itself: torch.float32, torch.strided, a class that is only named. */
export class Word {
  constructor(readonly name: string) {}
}

/** A function or class of the allow-list. `call` makes what it stands for; nothing of Python's runs. */
export class Callable {
  constructor(
    readonly name: string,
    readonly call: (args: readonly Value[]) => Value,
  ) {}
}

/** What a message calls a value. */
export function kindOf(value: Value): string {
  if (value === null) return "None";
  if (Array.isArray(value)) return "a list";
  if (value instanceof Tuple) return "a tuple";
  if (value instanceof Dict) return "a dict";
  if (value instanceof PickledSet) return "a set";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof Inert || value instanceof Word || value instanceof Callable) return value.name;
  if (typeof value === "bigint" || typeof value === "number") return "a number";
  if (typeof value === "string") return "a text";
  if (typeof value === "boolean") return value ? "True" : "False";
  return "an object";
}
