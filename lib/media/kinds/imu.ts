// Recordings of motion sensors.
import { IMU_OPTIONS, type ImuPart, imu, loadImu } from "../imu.js";
import { filesOfImu } from "../imu-files.js";
import { means } from "../preview.js";
import type { Kind } from "./kind.js";

export const imuKind: Kind<ImuPart> = {
  name: "imu",
  about: "a recording of motion sensors: CSV, JSON or npy, or a folder with a file for each sensor",
  options: IMU_OPTIONS,
  functions: ["onNotice"],
  folder: true,
  list: true,
  files: filesOfImu,
  captionPrompts: ["Describe the motion.", "What does the wearer of the sensor do?", "Give a caption of the motion."],
  part: (source, options) => imu(source as ImuPart["source"], options),
  load: loadImu,
  async preview(part, loading) {
    const { samples, sampleRate } = await loadImu(part, loading);
    const count = samples.length / 6;
    const axis = (i: number) => means(samples.subarray(i * count, (i + 1) * count));
    return {
      curves: [
        { name: "acceleration x, y, z in m/s²", lines: [0, 1, 2].map(axis) },
        { name: "turning x, y, z in rad/s", lines: [3, 4, 5].map(axis) },
      ],
      seconds: count / sampleRate,
    };
  },
  /** Zeros, whose rows and columns are in order. */
  async blank(part, loading) {
    const { samples, sampleRate } = await loadImu(part, loading);
    const { start: _start, seconds: _seconds, orientation: _orientation, columns: _columns, ...options } = part.options;
    return imu({ samples: new Float32Array(samples.length), sampleRate }, options);
  },
};
