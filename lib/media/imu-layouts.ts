// Data sets whose files name no columns, by what is known of them.
import type { Kind } from "./imu-names.js";

const XYZ = [..."xyz"];
const three = (name: string) => XYZ.map((axis) => `${name}_${axis}`);

/** PAMAP2 (UCI): time in s, activity, heart rate, then three sensors of 17 columns; m/s² and rad/s. */
const PAMAP2 = [
  "timestamp (s)",
  "activity_id",
  "heart_rate",
  ...["hand", "chest", "ankle"].flatMap((place) => [
    `${place}_temperature`,
    ...XYZ.map((axis) => `${place}_acc_16g_${axis} (m/s^2)`),
    ...XYZ.map((axis) => `${place}_acc_6g_${axis} (m/s^2)`),
    ...XYZ.map((axis) => `${place}_gyro_${axis} (rad/s)`),
    ...three(`${place}_mag`),
    ...[0, 1, 2, 3].map((i) => `${place}_orientation_${i}`),
  ]),
];

/** MHEALTH (UCI): no time, 50 Hz; m/s² and deg/s. The chest has no gyroscope. */
const MHEALTH = [
  ...three("chest_acc"),
  "ecg_1",
  "ecg_2",
  ...["ankle", "arm"].flatMap((place) => [
    ...XYZ.map((axis) => `${place}_acc_${axis} (m/s^2)`),
    ...XYZ.map((axis) => `${place}_gyro_${axis} (deg/s)`),
    ...three(`${place}_mag`),
  ]),
  "label",
];

/** Names for the cells of a row, or undefined. `columns`: somebody counts them. */
export function namesOfRow(
  cells: readonly string[],
  separator: string,
  hint: Kind | undefined,
  counted: boolean,
): readonly string[] | undefined {
  if (counted) return cells.map((_, i) => String(i + 1));
  if (separator === " " && cells.length === PAMAP2.length) return PAMAP2;
  if ((separator === "\t" || separator === " ") && cells.length === MHEALTH.length && /^\d+$/.test(cells.at(-1)!)) return MHEALTH;
  return hint && cells.length === 3 ? XYZ : undefined;
}
