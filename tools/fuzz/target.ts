// What is fuzzed: a reader, valid files to begin from, and how to make files that are nearly valid.
import type { Random } from "./random.js";

/** Where a valid file holds an integer that others depend on: a length, a count, an offset, a type. Little-endian. */
export interface Field {
  at: number;
  bytes: 1 | 2 | 4 | 8;
}
export interface Seed {
  bytes: Uint8Array;
  fields: readonly Field[];
}

export interface Target {
  readonly name: string;
  readonly seeds: readonly Seed[];
  /** Where an input may cost more than others' do: seconds of processor time, and bytes of memory. */
  readonly mostSeconds?: number;
  readonly mostBytes?: number;
  /** A file built from parts, of which some lie. */
  build?(random: Random): Uint8Array;
  /** Makes, before the first input, what all of them use: it may stay on the device. */
  prepare?(path: string): Promise<void>;
  /** Reads the file and uses what it holds. May throw what the library calls an error of its own, and nothing else. */
  run(bytes: Uint8Array, path: string): Promise<void> | void;
}

/** Integers that break readers: ends of ranges, what lies beyond, and products that overflow. */
export const HOSTILE: readonly bigint[] = [
  ...[0n, 1n, 2n, 3n, 7n, 127n, 128n, 255n, 256n, 65535n, 65536n],
  ...[2n ** 24n, 2n ** 31n - 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 33n + 1n],
  ...[2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 2n, 2n ** 61n, 2n ** 62n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 8n, 2n ** 64n - 1n],
];
