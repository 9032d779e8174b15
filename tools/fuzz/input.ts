// One input of a run: a valid file with a few things changed, one built from parts that lie, or noise. Decided by target, seed and index alone.
import { Random } from "./random.js";
import { type Field, HOSTILE, type Seed, type Target } from "./target.js";

const LONGEST_NOISE = 512;

export function inputOf(target: Target, seed: number, index: number): Uint8Array {
  const random = new Random(seed, index);
  if (random.chance(0.05)) return random.bytes(random.below(LONGEST_NOISE));
  const built = target.build !== undefined && random.chance(0.5);
  if (built && random.chance(0.7)) return target.build?.(random) ?? new Uint8Array();
  const { bytes, fields } = built ? { bytes: target.build?.(random) ?? new Uint8Array(), fields: [] } : random.pick(target.seeds);
  let changed: Uint8Array = new Uint8Array(bytes); // a copy: slice() of a Buffer is none
  let known = fields; // true until bytes move
  for (let n = 1 + random.below(4); n > 0; --n) {
    const before = changed.length;
    changed = change(random, changed, known, target.seeds);
    if (changed.length !== before) known = known.filter(({ at }) => at + 8 <= Math.min(before, changed.length) / 2);
  }
  return changed;
}

function change(random: Random, bytes: Uint8Array, fields: readonly Field[], others: readonly Seed[]): Uint8Array {
  if (fields.length && random.chance(0.5)) return overwritten(random, bytes, random.pick(fields));
  if (!bytes.length) return random.bytes(random.below(16));
  const at = random.below(bytes.length);
  const run = 1 + random.below(Math.min(64, bytes.length - at));
  switch (random.below(8)) {
    case 0: {
      bytes[at]! ^= 1 << random.below(8);
      return bytes;
    }
    case 1: {
      bytes[at] = random.pick([0, 1, 0x22, 0x2c, 0x7f, 0x80, 0xff, random.below(256)]);
      return bytes;
    }
    case 2:
      return overwritten(random, bytes, { at, bytes: random.pick([1, 2, 4, 8] as const) });
    case 3: // cut off
      return bytes.slice(0, at);
    case 4: // a run is gone
      return joined(bytes.subarray(0, at), bytes.subarray(at + run));
    case 5: // a run comes twice
      return joined(bytes.subarray(0, at + run), bytes.subarray(at));
    case 6: // something comes in between
      return joined(bytes.subarray(0, at), random.bytes(run), bytes.subarray(at));
    default: {
      // the end of another file
      const other = random.pick(others).bytes;
      return joined(bytes.subarray(0, at), other.subarray(random.below(other.length + 1)));
    }
  }
}

function overwritten(random: Random, bytes: Uint8Array, field: Field): Uint8Array {
  if (field.at + field.bytes > bytes.length) return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const scratch = new DataView(new ArrayBuffer(8));
  for (let i = 0; i < field.bytes; ++i) scratch.setUint8(i, view.getUint8(field.at + i));
  const old = scratch.getBigUint64(0, true);
  const near = old + BigInt(random.below(9) - 4);
  scratch.setBigUint64(0, BigInt.asUintN(64, random.chance(0.4) ? near : random.pick(HOSTILE)), true);
  for (let i = 0; i < field.bytes; ++i) view.setUint8(field.at + i, scratch.getUint8(i));
  return bytes;
}

export function joined(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
