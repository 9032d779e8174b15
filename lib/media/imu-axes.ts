// A file for each axis, with a recording in each of its lines: UCI-HAR's Inertial Signals.
import { isMissing } from "./cells.js";
import { MediaError } from "./error.js";
import type { ImuOptions } from "./imu.js";
import type { AxisFiles } from "./imu-files.js";
import { IMU_LIMITS, textOf } from "./imu-limits.js";
import type { Matrix } from "./npy.js";
import { bytesOf, type Loading } from "./source.js";

export async function readAxes(files: AxisFiles, options: ImuOptions, loading: Loading): Promise<Matrix> {
  const { row, sampleRate } = options;
  const what = files[0]!;
  if (sampleRate === undefined)
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      "the option sampleRate",
      "numbers without time",
      "give the option sampleRate in Hz; UCI-HAR's is 50",
    );
  const channels: Float64Array[] = [];
  for (const file of files) {
    const text = textOf(await bytesOf(file, options.maxBytes ?? IMU_LIMITS.maxBytes, loading), file);
    const lines = text.split("\n").filter((line) => line.trim());
    const cells = (line: string) => line.trim().split(/[\s,;]+/);
    const width = lines.length ? cells(lines[0]!).length : 0;
    if (width > 1 && (row === undefined || row >= lines.length))
      throw new MediaError(
        "E_MEDIA_OPTION",
        file,
        `the option row, below ${lines.length}`,
        row === undefined ? `${lines.length} recordings, one a line` : `${row}`,
        "say which with the option row: 0 and so on",
      );
    const numbers = width > 1 ? cells(lines[row!]!) : lines.map((line) => line.trim());
    const wrong = numbers.findIndex((cell) => isMissing(cell) || !Number.isFinite(Number(cell)));
    if (wrong >= 0 || !numbers.length)
      throw new MediaError(
        "E_MEDIA_FORMAT",
        width > 1 ? `${file}:${row! + 1}` : `${file}:${wrong + 1}`,
        "numbers",
        JSON.stringify(numbers[wrong] ?? ""),
        "fetch the file again",
      );
    channels.push(Float64Array.from(numbers, Number));
  }
  const rows = channels[0]!.length;
  const other = channels.findIndex((channel) => channel.length !== rows);
  if (other >= 0)
    throw new MediaError(
      "E_MEDIA_FORMAT",
      files[other]!,
      `${rows} samples, as in ${what}`,
      `${channels[other]!.length}`,
      "fetch the file again",
    );
  const values = new Float64Array(6 * rows);
  for (const [c, channel] of channels.entries()) values.set(channel, c * rows);
  return { values, shape: [6, rows] };
}
