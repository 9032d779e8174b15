// Which columns of a table are the sensors and the time, by the many names they go by.
import { MediaError } from "./error.js";
import { type AccelerationUnit, type GyroscopeUnit, type Kind, type SensorName, sensorName, type TimeUnit, timeName } from "./imu-names.js";

export const CHANNELS = ["ax", "ay", "az", "gx", "gy", "gz"] as const;
export type Channel = (typeof CHANNELS)[number];
/** By name; in a file that names none, by number from 1. */
export type ImuColumns = Partial<Record<Channel | "time", string | number>>;

type Three = [number, number, number];
export interface SensorColumns {
  /** Places of x, y, z among the names. */
  at: Three;
  acceleration?: AccelerationUnit;
  gyroscope?: GyroscopeUnit;
  /** Places of gravity, which the sensor's columns lack. */
  gravity?: Three;
  gravityUnit?: AccelerationUnit;
  /** The names say that gravity was taken out. */
  linear?: boolean;
  /** "linear_acceleration" of ROS, in which gravity is. */
  ros?: boolean;
}
export interface TimeColumn {
  at: number;
  name: string;
  unit?: TimeUnit;
  canonical: boolean;
}
export interface Choice {
  acceleration?: SensorColumns;
  gyroscope?: SensorColumns;
  /** Clocks, all that there are. */
  times: TimeColumn[];
  /** What was decided between several, for a notice. */
  decided: string[];
}
export interface Choosing {
  columns?: ImuColumns | undefined;
  /** Of several sensors, the one whose columns have this in their names. */
  place?: string | undefined;
  /** What x, y, z are where columns name no sensor. */
  hint?: Kind | undefined;
}

/** A name takes some time to be read. */
const MOST_COLUMNS = 4096;

/** All columns of one sensor. */
interface Triple extends SensorName {
  axes: [number[], number[], number[]];
}

export function chooseColumns(names: readonly string[], { columns: given = {}, place, hint }: Choosing, what: string): Choice {
  if (names.length > MOST_COLUMNS)
    throw new MediaError(
      "E_MEDIA_LIMIT",
      what,
      `at most ${MOST_COLUMNS} columns`,
      `${names.length}`,
      "keep those of the sensors and the time",
    );
  const named = givenColumns(names, given, what);
  const triples = triplesOf(names, new Set(named.values()), hint);
  const decided: string[] = [];
  const times =
    named.get("time") === undefined
      ? names.flatMap((name, at) => timeAt(name, at) ?? [])
      : [timeAt(names[named.get("time")!]!, named.get("time")!, true)!];
  const all = { acc: hasAll(named, "a"), gyro: hasAll(named, "g") };
  const pair = matching(
    all.acc ? [] : accelerometers(triples),
    all.gyro ? [] : triples.filter(({ kind }) => kind === "gyroscope"),
    place,
    what,
    decided,
  );
  const choice: Choice = { times, decided };
  const acc = all.acc ? fromGiven(named, "a", names) : pair.acc && sensorOf(pair.acc, overrides(named, "a"), names, "a", what);
  const gyro = all.gyro ? fromGiven(named, "g", names) : pair.gyro && sensorOf(pair.gyro, overrides(named, "g"), names, "g", what);
  if (acc) {
    choice.acceleration = acc;
    const { kind, ros, gravity } = (all.acc ? {} : (pair.acc ?? {})) as Partial<Accelerometer>;
    if (kind === "linear") acc.linear = true;
    if (ros) acc.ros = true;
    if (kind === "linear" && gravity) {
      acc.gravity = gravity.axes.map(([at]) => at) as Three;
      if (gravity.acceleration) acc.gravityUnit = gravity.acceleration;
    }
  }
  if (gyro) choice.gyroscope = gyro;
  return choice;
}

/** The channels that a table lacks; `given` may name single ones. */
export function missingChannels(
  names: readonly string[],
  choice: Pick<Choice, "acceleration" | "gyroscope">,
  given: ImuColumns = {},
): Channel[] {
  const triples = triplesOf(names, new Set(), undefined);
  const has = (channel: Channel) => {
    const [kind, axis] = [channel[0] === "a" ? "total" : "gyroscope", "xyz".indexOf(channel[1]!)];
    return given[channel] !== undefined || triples.some((triple) => triple.kind === kind && triple.axes[axis]!.length > 0);
  };
  const missing = CHANNELS.filter((channel) => !(channel[0] === "a" ? choice.acceleration : choice.gyroscope));
  const lacking = missing.filter((channel) => !has(channel));
  return lacking.length ? lacking : missing;
}

export function missingColumns(what: string, missing: readonly Channel[], names: readonly string[], beside = ""): MediaError {
  const example = missing.map((key) => `${key}: "…"`).join(", ");
  return new MediaError(
    "E_MEDIA_FORMAT",
    what,
    "columns for accelerometer and gyroscope x, y, z (ax … gz)",
    `none for ${missing.join(", ")} among ${listed(names)}`,
    `${beside || "add what is missing"}, or say what it is called with the option columns: { ${example} }`,
  );
}

/** Whether a line could be the one that names the columns. */
export const looksLikeNames = (names: readonly string[], given: ImuColumns = {}): boolean =>
  names
    .slice(0, MOST_COLUMNS)
    .some((name) => sensorName(name) || timeName(name) || Object.values(given).some((one) => String(one).trim() === name.trim()));

function givenColumns(names: readonly string[], given: ImuColumns, what: string): Map<Channel | "time", number> {
  const named = new Map<Channel | "time", number>();
  for (const [key, name] of Object.entries(given) as [Channel | "time", string | number | undefined][]) {
    if (name === undefined) continue;
    if (key !== "time" && !CHANNELS.includes(key))
      throw new MediaError("E_MEDIA_OPTION", what, `columns ${CHANNELS.join(", ")} or time`, key, "use these keys");
    const at = names.findIndex((other) => other.trim() === String(name).trim());
    if (at < 0)
      throw new MediaError("E_MEDIA_OPTION", what, `the column "${name}" for ${key}`, listed(names), "correct the option columns");
    named.set(key, at);
  }
  return named;
}

const hasAll = (named: ReadonlyMap<string, number>, sensor: "a" | "g"): boolean => [..."xyz"].every((axis) => named.has(sensor + axis));
const overrides = (named: ReadonlyMap<string, number>, sensor: "a" | "g") => [..."xyz"].map((axis) => named.get(sensor + axis));

function fromGiven(named: ReadonlyMap<string, number>, sensor: "a" | "g", names: readonly string[]): SensorColumns {
  const at = overrides(named, sensor) as Three;
  const { acceleration, gyroscope } = sensorName(names[at[0]]!) ?? {};
  return { at, ...(acceleration && sensor === "a" && { acceleration }), ...(gyroscope && sensor === "g" && { gyroscope }) };
}

function timeAt(name: string, at: number, given = false): TimeColumn | undefined {
  const time = timeName(name);
  return time || given ? { at, name, canonical: false, ...time } : undefined;
}

function triplesOf(names: readonly string[], given: ReadonlySet<number>, hint: Kind | undefined): Triple[] {
  const found = new Map<string, Triple>();
  for (const [at, name] of names.entries()) {
    const sensor = given.has(at) ? undefined : sensorName(name);
    if (!sensor) continue;
    if (sensor.kind === "bare") {
      if (!hint) continue;
      sensor.kind = hint;
    }
    const key = `${sensor.kind}|${sensor.place}|${sensor.range ?? ""}`;
    const triple = found.get(key) ?? { ...sensor, axes: [[], [], []] };
    triple.axes[sensor.axis]!.push(at);
    found.set(key, triple);
  }
  // What a column says itself goes before x, y, z.
  return [...found.values()];
}

const isWhole = ({ axes }: Triple): boolean => axes.every((list) => list.length > 0);

interface Accelerometer extends Triple {
  gravity?: Triple | undefined;
}

/** One for each place: the whole acceleration where it is there, else what was left of it, with gravity where that is told apart. */
function accelerometers(triples: readonly Triple[]): Accelerometer[] {
  const totals = triples.filter(({ kind }) => kind === "total");
  const places = new Set(totals.filter(isWhole).map(({ place }) => place));
  const linear = triples.filter((triple) => triple.kind === "linear" && isWhole(triple) && !places.has(triple.place));
  const gravity = (place: string) => triples.find((triple) => triple.kind === "gravity" && triple.place === place && isWhole(triple));
  return [...totals, ...linear.map((triple) => ({ ...triple, gravity: gravity(triple.place) }))];
}

function matching(
  accs: readonly Accelerometer[],
  gyros: readonly Triple[],
  place: string | undefined,
  what: string,
  decided: string[],
): { acc?: Accelerometer | undefined; gyro?: Triple | undefined } {
  const words = place?.toLowerCase().split(/[^a-z0-9]+/).filter(Boolean); // biome-ignore format: short
  const here = <T extends Triple>(all: readonly T[]): T[] => {
    const whole = all.filter(isWhole);
    const some = whole.length ? whole : [...all];
    return words ? some.filter((triple) => words.every((word) => triple.place.split(" ").includes(word))) : some;
  };
  const [a, g] = [here(accs), here(gyros)];
  if (words && (accs.length || gyros.length) && !a.length && !g.length)
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      `columns of the place ${JSON.stringify(place)}`,
      listed([...new Set([...accs, ...gyros].map((triple) => triple.place))]),
      "name one of these with the option place",
    );
  const places = (some: readonly Triple[]) => [...new Set(some.map((triple) => triple.place))];
  const shared = places(a).filter((one) => places(g).includes(one));
  const only = (some: readonly Triple[]): string | undefined => {
    const own = places(some);
    return own.length < 2 ? own[0] : own.includes("") ? "" : shared.length === 1 ? shared[0] : undefined;
  };
  const [forA, forG] = [only(a), only(g)];
  if ((a.length && forA === undefined) || (g.length && forG === undefined)) {
    const several = shared.length ? shared : [...new Set([...places(a), ...places(g)])];
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      "one accelerometer and one gyroscope",
      `several: ${listed(several)}`,
      `say which with the option place: ${JSON.stringify(several.find((one) => one !== ""))}`,
    );
  }
  const widest = <T extends Triple>(some: readonly T[], of: string | undefined): T | undefined => {
    const [best, next] = some.filter((triple) => triple.place === of).sort((x, y) => (y.range ?? 0) - (x.range ?? 0) || rank(x) - rank(y));
    if (best?.range && next?.range)
      decided.push(
        `of the accelerometers of ${next.range} g and ${best.range} g that of ${best.range} g is read, which is not cut off in fast motion`,
      );
    return best;
  };
  return { acc: widest(a, forA), gyro: widest(g, forG) };
}
const rank = ({ kind }: Triple): number => (kind === "linear" ? 1 : 0);

/** undefined where an axis is not there. */
function sensorOf(
  triple: Triple,
  given: readonly (number | undefined)[],
  names: readonly string[],
  sensor: "a" | "g",
  what: string,
): SensorColumns | undefined {
  const axes = triple.axes.map((list, axis) => (given[axis] === undefined ? list : [given[axis]]));
  if (axes.some((list) => !list.length)) return undefined;
  const twice = axes.findIndex((list) => list.length > 1);
  if (twice >= 0) {
    const key = sensor + "xyz"[twice];
    throw new MediaError(
      "E_MEDIA_FORMAT",
      what,
      `one column for ${key}`,
      listed(axes[twice]!.map((at) => names[at]!)),
      `say which with the option columns: { ${key}: ${JSON.stringify(names[axes[twice]![0]!])} }`,
    );
  }
  const at = axes.map(([one]) => one) as Three;
  const { acceleration, gyroscope } = triple;
  return { at, ...(acceleration && sensor === "a" && { acceleration }), ...(gyroscope && sensor === "g" && { gyroscope }) };
}

export function listed(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return shown.join(", ") + (names.length > 20 ? ` and ${names.length - 20} more` : "") || "no columns";
}
