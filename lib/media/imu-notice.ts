// What is told of a recording that was read: how its units were found, what was left out, where it has holes.
import { warn } from "../core/notice.js";
import type { ImuPart } from "./imu.js";

export const IMU_NOTICES = {
  /** How a unit was found that nothing says. */
  units: "ANYMAL_IMU_UNITS",
  /** Where samples are missing. */
  gap: "ANYMAL_IMU_GAP",
  /** Rows that were left out or put into another order. */
  rows: "ANYMAL_IMU_ROWS",
  /** Which of several files, sensors or clocks were read. */
  files: "ANYMAL_IMU_FILES",
} as const;
export type ImuNotice = keyof typeof IMU_NOTICES;
export type Say = (kind: ImuNotice, message: string) => void;

/** A data set of thousands of files of one kind says the same of each. */
const MOST = 8;
const said = new WeakMap<ImuPart, Set<string>>();
const warned = new Map<string, Set<string>>();

/** Says each thing once for a part; without onNotice for the first few recordings of the process. */
export function sayOf(part: ImuPart): Say {
  return (kind, message) => {
    const before = said.get(part) ?? new Set();
    said.set(part, before);
    if (before.has(message)) return;
    before.add(message);
    const { onNotice } = part.options;
    if (onNotice) return onNotice(message);
    const code = IMU_NOTICES[kind];
    const those = warned.get(code) ?? new Set();
    warned.set(code, those);
    if (those.size === MOST || those.has(message)) return;
    those.add(message);
    const last = those.size === MOST ? " (others are not told any more: onNotice hears of each)" : "";
    warn(code, `${message}${last}`);
  };
}
