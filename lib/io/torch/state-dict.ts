// Which tensors of a file are the model: a file may be the dict of them, or hold it beside an optimiser's state, under a name of its own.
import { SCRIPTED } from "./allowed.js";
import { PickleError, quoted } from "./error.js";
import { StoredTensor } from "./tensor.js";
import { Dict, Inert, kindOf, type Value } from "./values.js";

export interface StateDict {
  /** Where in the file; "" is the file itself. */
  readonly key: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Of dicts in dicts, and how many are looked at: they may hold each other. */
const DEEPEST = 16;
const MOST_LOOKED_AT = 2 ** 20;
const MOST_TOLD = 8;

/** The dict at `key`, such as "model" or "state.model", with all below it; without a key the only dict that holds tensors. Throws E_PICKLE. */
export function stateDict(root: Value, path: string, key?: string): StateDict {
  if (root instanceof StoredTensor)
    throw new PickleError(path, "a dict of tensors by name", "one tensor without a name", "save it as a dict, such as {'weight': tensor}");
  const dict = dictOf(root);
  if (!dict) throw new PickleError(path, "a dict of tensors by name", kindOf(root), "save the model's state_dict()");
  if (key !== undefined) return chosen(dict, path, key);
  if (root instanceof Inert) return { key: "", tensors: below(dict, path) };
  const found = [...holders(dict)];
  if (found.length === 1) {
    const [key, holder] = found[0] as [string, Dict];
    return { key, tensors: direct(holder) };
  }
  if (!found.length) throw new PickleError(path, "a dict that holds tensors by name", "none", "save the model's state_dict()");
  throw new PickleError(
    path,
    "one dict of tensors",
    told(found),
    `choose one: --key ${found.find(([key]) => key)?.[0]}, or the option key`,
  );
}

/** Numbers, texts and booleans of the dict at `key`; undefined where there is none. */
export function plainAt(root: Value, key: string): Record<string, unknown> | undefined {
  const dict = dictOf(root);
  const at = dict && dictOf(lookUp(dict, key));
  if (!at) return undefined;
  const plain = Array.from(at.map).filter(
    (one): one is [string, Value] => typeof one[0] === "string" && /^(number|string|boolean)$/.test(typeof one[1]),
  );
  return Object.fromEntries(plain);
}

function told(found: readonly (readonly [string, Dict])[]): string {
  const keys = found.slice(0, MOST_TOLD).map(([key]) => (key ? quoted(key) : 'the file itself (".")'));
  return `${found.length}: ${keys.join(", ")}${found.length > MOST_TOLD ? ", …" : ""}`;
}

function chosen(root: Dict, path: string, key: string): StateDict {
  const at = key === "." || key === "" ? root : dictOf(lookUp(root, key));
  const tensors = at && below(at, path);
  if (tensors?.size) return { key: at === root ? "" : key, tensors };
  const found = [...holders(root)];
  throw new PickleError(
    path,
    `a dict of tensors at ${quoted(key)}`,
    at ? "one without tensors" : "none",
    found.length ? `there is ${told(found)}` : "there is no other",
  );
}

/** A module of TorchScript is the dict of what it holds. */
function dictOf(value: Value): Dict | undefined {
  if (value instanceof Dict) return value;
  return value instanceof Inert && value.name.startsWith(SCRIPTED) && value.state instanceof Dict ? value.state : undefined;
}

/** Names may have dots themselves: the longest part that fits comes first. */
function lookUp(dict: Dict, key: string): Value {
  for (let at = key.length; at > 0; at = key.lastIndexOf(".", at - 1)) {
    const value = dict.map.get(key.slice(0, at));
    if (at === key.length && value !== undefined) return value;
    const inside = dictOf(value);
    const found = inside && lookUp(inside, key.slice(at + 1));
    if (found !== undefined) return found;
  }
  return undefined;
}

function direct({ map }: Dict): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of map) if (typeof name === "string" && value instanceof StoredTensor) tensors.set(name, value);
  return tensors;
}

/** Dicts that hold tensors themselves, each once. */
function* holders(root: Dict): Generator<[string, Dict]> {
  const seen = new Set<Dict>([root]);
  let level: [string, Dict][] = [["", root]];
  for (let depth = 0; depth < DEEPEST && level.length; ++depth) {
    const next: [string, Dict][] = [];
    for (const [key, dict] of level) {
      let holds = false;
      for (const [name, value] of dict.map) {
        if (typeof name !== "string") continue;
        holds ||= value instanceof StoredTensor;
        const inside = dictOf(value);
        if (!inside || seen.has(inside)) continue;
        seen.add(inside);
        next.push([key ? `${key}.${name}` : name, inside]);
      }
      if (holds) yield [key, dict];
    }
    level = next;
  }
}

/** All tensors below a dict, by the names that lead there. */
function below(root: Dict, path: string): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  const open = new Set<Dict>();
  let looked = 0;
  const walk = (dict: Dict, prefix: string): void => {
    if (open.has(dict) || open.size >= DEEPEST)
      throw new PickleError(
        path,
        `dicts at most ${DEEPEST} deep`,
        "deeper ones, or one that holds itself",
        "choose one inside of it with --key",
      );
    open.add(dict);
    for (const [name, value] of dict.map) {
      if (++looked > MOST_LOOKED_AT) throw new PickleError(path, `at most ${MOST_LOOKED_AT} entries of dicts in dicts`, "more");
      if (typeof name !== "string") continue;
      const full = `${prefix}${name}`;
      const inside = dictOf(value);
      if (inside) walk(inside, `${full}.`);
      if (!(value instanceof StoredTensor)) continue;
      if (tensors.has(full)) throw new PickleError(path, "every name once", `${quoted(full)} twice`, "choose one dict with --key");
      tensors.set(full, value);
    }
    open.delete(dict);
  };
  walk(root, "");
  return tensors;
}
