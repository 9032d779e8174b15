// Which files make one recording: a folder, a list, or one file and those beside it that hold the other sensor or the time.
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { isUrl } from "../core/realm.js";
import { MediaError } from "./error.js";
import { listed } from "./imu-columns.js";
import { type SensorOf, sensorName, sensorOfName } from "./imu-names.js";
import { describe, type MediaSource, pathOf } from "./source.js";

export interface ImuFile {
  source: MediaSource;
  what: string;
  /** What the file's name says it holds. */
  sensor?: SensorOf | undefined;
  /** It was not named, but lies beside one that was. */
  beside?: boolean;
}
/** A file for each axis: acceleration x, y, z, gyroscope x, y, z. */
export type AxisFiles = readonly string[];

const DATA = /^[^.].*\.(csv|tsv|txt|dat|log|json|jsonl|ndjson|npy)$/i;
const MOST_FILES = 1000;
const { compare } = new Intl.Collator("en", { numeric: true });

/** Every file that may be read for a recording, for those who look at files themselves: its own, and those beside it. */
export async function filesOfImu(source: unknown): Promise<string[]> {
  const files: string[] = [];
  for (const one of Array.isArray(source) ? source : [source]) {
    const path = typeof one === "string" || isUrl(one) ? pathOf(one) : undefined;
    if (path === undefined) continue;
    const folder = await folderOf(path);
    if (folder === undefined) files.push(path, ...(await besides(path)).map(({ source: beside }) => String(beside)));
    else files.push(...(await dataFiles(folder)).map((name) => join(folder, name)));
  }
  return [...new Set(files)];
}

/** What a source stands for: files, or a file for each axis. */
export async function imuFiles(source: MediaSource | readonly MediaSource[]): Promise<ImuFile[] | { axes: AxisFiles }> {
  if (Array.isArray(source)) {
    if (!source.length)
      throw new MediaError("E_MEDIA_SOURCE", "a list of files", "at least one file", "none", "name the files of the recording");
    return source.map((one: MediaSource) => fileOf(one));
  }
  const one = source as MediaSource;
  const path = pathOf(one);
  const folder = path === undefined ? undefined : await folderOf(path);
  return folder === undefined ? [fileOf(one)] : inFolder(folder);
}

/** Words for a sensor in names of files, and what the other one and gravity are called where that is the word. */
const WORDS = /(?:total|linear|user)?[ _-]?(?:accelerometer|acceleration|accel|accl|acc)|gyroscope|gyro|gyr/i;
const CALLED = {
  gyroscope: ["Gyroscope", "Gyro", "Gyr"],
  total: ["TotalAcceleration", "Accelerometer", "Acceleration", "Accel", "Accl", "Acc"],
  gravity: ["Gravity"],
};

/** Files of the same recording beside this one, by their names: Gyroscope.csv of Accelerometer.csv, uid_timestamps.npy of uid.npy. */
export async function besides(path: string): Promise<ImuFile[]> {
  const [folder, name] = [dirname(path), basename(path)];
  if (/\.npy$/i.test(name)) {
    const times = join(folder, name.replace(/\.npy$/i, "_timestamps.npy"));
    return (await isFile(times)) ? [{ source: times, what: times, beside: true }] : [];
  }
  const [word] = WORDS.exec(name) ?? [];
  const own = sensorOfName(name);
  if (!word || !own) return [];
  const spelled = (other: string) =>
    word === word.toLowerCase() ? other.toLowerCase() : word === word.toUpperCase() ? other.toUpperCase() : other;
  const wanted = own.kind === "gyroscope" ? CALLED.total : CALLED.gyroscope;
  const names = [...wanted, ...CALLED.gravity].map((other) => name.replace(WORDS, spelled(other)));
  const found: ImuFile[] = [];
  for (const other of names) {
    const place = join(folder, other);
    if (sensorOfName(other)?.place === own.place && (await isFile(place))) found.push({ ...fileOf(place), beside: true });
  }
  return found;
}

function fileOf(source: MediaSource): ImuFile {
  const path = pathOf(source);
  return { source, what: describe(source), sensor: path === undefined ? undefined : sensorOfName(basename(path)) };
}

/** The path, if it is a folder. UCI-HAR keeps its recordings one level further down. */
async function folderOf(path: string): Promise<string | undefined> {
  if (!(await isFolder(path))) return undefined;
  const inertial = join(path, "Inertial Signals");
  return (await isFolder(inertial)) ? inertial : path;
}
const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (status) => status.isFile(),
    () => false,
  );
const isFolder = (path: string): Promise<boolean> => stat(path).then((status) => status.isDirectory(), () => false); // biome-ignore format: short

async function dataFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  const names = entries.filter((entry) => !entry.isDirectory() && DATA.test(entry.name)).map(({ name }) => name);
  if (names.length > MOST_FILES)
    throw new MediaError("E_MEDIA_LIMIT", folder, `a folder of one recording`, `${names.length} files`, "name the recording's own files");
  return names.sort((a, b) => compare(a, b) || (a < b ? -1 : 1));
}

async function inFolder(folder: string): Promise<ImuFile[] | { axes: AxisFiles }> {
  const names = await dataFiles(folder);
  if (!names.length)
    throw new MediaError(
      "E_MEDIA_SOURCE",
      folder,
      "a folder with files of a recording (.csv, .txt, .json, .npy)",
      "none in it",
      "name the folder that holds them",
    );
  const axes = axisFiles(names);
  if (axes) return { axes: axes.map((name) => join(folder, name)) };
  const files = names.map((name) => fileOf(join(folder, name)));
  const sensors = files.filter(({ sensor }) => sensor);
  const has = (gyroscope: boolean) =>
    sensors.some(({ sensor }) => (sensor!.kind === "gyroscope") === gyroscope && sensor!.kind !== "gravity");
  if (has(true) && has(false)) return sensors;
  const own = names.filter((name) =>
    /(?:^|[^a-z])(?:imu|motion|inertial|sensors?)(?:[^a-z]|$)/i.test(name.replace(/([a-z])([A-Z])/g, "$1 $2")),
  );
  const matrices = names.filter((name) => /\.npy$/i.test(name) && !/_timestamps\.npy$/i.test(name));
  const single = [own, names, matrices.length === 1 && names.length === 2 ? matrices : []].find((some) => some.length === 1)?.[0];
  if (single) return [fileOf(join(folder, single))];
  throw new MediaError(
    "E_MEDIA_FORMAT",
    folder,
    "a file of the accelerometer and one of the gyroscope, or one of both",
    listed(names),
    `name the recording's file, or a list of its files`,
  );
}

/** total_acc_x_train.txt … body_gyro_z_train.txt: six names, or undefined. Gravity stays in where both are there. */
function axisFiles(names: readonly string[]): string[] | undefined {
  const read = names.map((name) => ({ name, sensor: sensorName(name.replace(/\.\w+$/, "")) }));
  const find = (kinds: readonly string[], axis: number): string | undefined => {
    for (const kind of kinds) {
      const found = read.filter(({ sensor }) => sensor?.kind === kind && sensor.axis === axis);
      if (found.length === 1) return found[0]!.name;
    }
    return undefined;
  };
  const six = [0, 1, 2, 3, 4, 5].map((c) => find(c < 3 ? ["total"] : ["gyroscope"], c % 3));
  return six.every((name) => name !== undefined) ? (six as string[]) : undefined;
}
