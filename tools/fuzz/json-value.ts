// JSON that is nearly what a reader wants: a valid value with a few places changed.
import type { Random } from "./random.js";
import { HOSTILE } from "./target.js";

type Holder = Record<string, unknown> | unknown[];

/** A text of so many characters is not made a thousand times as long: it would be the memory of who makes it, not of who reads it. */
const LONG = 10_000;

/** Marks of what JSON.stringify does not write. */
const RAW = /"@([^"@]*)@"/g;

/** Text of `value` with some of its places changed, and one or two of them at times spelled as no JSON is. */
export function changedJson(random: Random, value: unknown): string {
  const copy: { root: unknown } = { root: structuredClone(value) };
  for (let n = 1 + random.below(3); n > 0; --n) change(random, copy);
  return (JSON.stringify(copy.root) ?? "").replace(RAW, "$1");
}

function change(random: Random, copy: { root: unknown }): void {
  const places = placesOf(copy as Record<string, unknown>);
  if (!places.length) return;
  const [holder, key] = random.pick(places);
  const [other, otherKey] = random.pick(places);
  const old = (holder as Record<string, unknown>)[key];
  const set = (value: unknown) => {
    (holder as Record<string, unknown>)[key] = value;
  };
  switch (random.below(8)) {
    case 0:
      if (Array.isArray(holder)) holder.splice(Number(key), 1);
      else delete holder[key];
      break;
    case 1: // another one's value
      set(structuredClone((other as Record<string, unknown>)[otherKey]));
      break;
    case 2: // more of it
      if (Array.isArray(old))
        for (let n = random.pick([1, 2, 100, 3000]); n > 0 && old.length; --n) old.push(structuredClone(old[n % old.length]));
      else if (typeof old === "string") set(old.repeat(random.pick(old.length < LONG ? [0, 2, 1000] : [0, 2])));
      else if (typeof old === "number") set(old + random.below(5) - 2);
      else set([old, old]);
      break;
    case 3: // a key that objects have
      if (Array.isArray(holder)) holder.push(odd(random));
      else holder[random.pick(["constructor", "toString", "x", "", "type", "id", "\u0000", "length"])] = odd(random);
      break;
    default:
      set(odd(random));
  }
}

function placesOf(value: Holder): [Holder, string][] {
  const places: [Holder, string][] = [];
  const walk = (holder: Holder) => {
    const keys = Object.keys(holder);
    // of long tables some: nearly all places would be theirs
    for (const key of keys.length > 40 ? keys.filter((_, i) => i % Math.ceil(keys.length / 12) === 0) : keys) {
      places.push([holder, key]);
      const inside = (holder as Record<string, unknown>)[key];
      if (typeof inside === "object" && inside !== null) walk(inside as Holder);
    }
  };
  walk(value);
  return places;
}

const NAMES = [
  "constructor",
  "__proto__",
  "toString",
  "hasOwnProperty",
  "none",
  "default",
  "auto",
  "true",
  "0",
  "..",
  "/",
  "\ud800",
  "\u001b]0;x\u0007",
];

function odd(random: Random): unknown {
  switch (random.below(9)) {
    case 0:
      return `@${random.pick(HOSTILE)}@`;
    case 1:
      return random.pick([-1, 0.5, -0.5, 1e-300, 3, 7, 1000, 65537]);
    case 2:
      return `@${random.pick(["1e999", "-1e999", "-0", "NaN", "1e308", "Infinity"])}@`;
    case 3:
      return random.pick([null, true, false, "", [], {}]);
    case 4:
      return random.pick(NAMES);
    case 5:
      return "x".repeat(random.pick([1, 70, 2000, 100_000]));
    case 6: {
      const depth = random.pick([3, 150, 300, 50_000]);
      return `@${"[".repeat(depth)}${"]".repeat(depth)}@`;
    }
    case 7:
      return random.pick<unknown>([[null], [1, 2], ["a", "b"], [[]], { type: "evil" }, { content: 1 }, { toString: 1, valueOf: null }]);
    default:
      return Array.from({ length: random.pick([1, 4, 5000]) }, (_, i) => i);
  }
}
