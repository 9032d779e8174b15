// Which columns of a table are the sensors and the time, by the many names they go by.
import { MediaError } from "./error.js";

export const CHANNELS = ["ax", "ay", "az", "gx", "gy", "gz"] as const;
export type Channel = (typeof CHANNELS)[number];
export type ImuColumns = Partial<Record<Channel | "time", string>>;
export type TimeUnit = "s" | "ms" | "us" | "ns";
export type AccelerationUnit = "g" | "m/s2";
export type GyroscopeUnit = "deg/s" | "rad/s";

export interface Choice {
  /** Places among the names: of the six channels, then of the time where it is needed. */
  places: number[];
  /** What the names say of their units. */
  timeUnit?: TimeUnit;
  acceleration?: AccelerationUnit;
  gyroscope?: GyroscopeUnit;
}

const ACCELERATION = "(?:linear|user)?(?:a|acc|accel|acceleration|accelerometer)";
const GYROSCOPE = "(?:g|gyr|gyro|gyroscope|w|omega|angvel|angularvelocity|angularrate|rotation|rotationrate|rot)";
const FORCE = "(g|ms2|mss|mps2)?";
const TURN = "(degs|degsec|degps|dps|rads|radsec|radps)?";
const AXIS = "([xyz])(?:axis)?";
const SENSORS = [
  { first: "a", patterns: [`${ACCELERATION}${AXIS}${FORCE}`, `${AXIS}${ACCELERATION}${FORCE}`] },
  { first: "g", patterns: [`${GYROSCOPE}${AXIS}${TURN}`, `${AXIS}${GYROSCOPE}${TURN}`] },
].map(({ first, patterns }) => ({ first, patterns: patterns.map((p) => new RegExp(`^(?:imu|raw|sensor)?${p}$`)) }));
const TIME =
  /^(?:(?:imu|sensor|sample|unix|utc|epoch)_)?(?:time_?stamp|time|stamp|ts|t|elapsed_?time|time_elapsed|elapsed)(?:_?(s|secs?|seconds?|ms|msec|millis|milliseconds|us|usec|micros|microseconds|ns|nsec|nanos|nanoseconds))?$/;
const BARE_TIME = /^(seconds|millis|milliseconds|micros|microseconds|nanos|nanoseconds)(?:_elapsed)?$/;

/** "accelX [m/s²]" → accel_x_m_s2 */
function plain(name: string): string {
  const words = name.replaceAll("°", "deg").normalize("NFKC").replaceAll("μ", "u");
  return words
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "_")
    .replace(/^_|_$/g, "");
}

function sensorOf(name: string): { channel: Channel; unit: string | undefined } | undefined {
  const word = plain(name).replaceAll("_", "");
  for (const { first, patterns } of SENSORS)
    for (const pattern of patterns) {
      const match = pattern.exec(word);
      if (match) return { channel: `${first}${match[1]}` as Channel, unit: match[2] };
    }
  return undefined;
}

function timeOf(name: string): { unit: TimeUnit | undefined } | undefined {
  const word = plain(name);
  const match = TIME.exec(word) ?? BARE_TIME.exec(word);
  if (!match) return undefined;
  const unit = match[1] as string | undefined;
  return { unit: !unit ? undefined : /^s/.test(unit) ? "s" : /^n/.test(unit) ? "ns" : /^(us|micro)/.test(unit) ? "us" : "ms" };
}

/** `needsTime` false: there is a rate, the time column is not looked for. */
export function chooseColumns(names: readonly string[], given: ImuColumns, needsTime: boolean, what: string): Choice {
  const found = new Map<Channel | "time", number[]>();
  const units = new Map<number, string>();
  const add = (key: Channel | "time", at: number, unit: string | undefined) => {
    found.set(key, [...(found.get(key) ?? []), at]);
    if (unit) units.set(at, unit);
  };
  for (const [at, name] of names.entries()) {
    const sensor = sensorOf(name);
    if (sensor) add(sensor.channel, at, sensor.unit);
    const time = timeOf(name);
    if (time) add("time", at, time.unit);
  }
  for (const [key, name] of Object.entries(given) as [Channel | "time", string | undefined][]) {
    if (name === undefined) continue;
    if (key !== "time" && !CHANNELS.includes(key))
      throw new MediaError("E_MEDIA_OPTION", what, `columns ${CHANNELS.join(", ")} or time`, key, "use these keys");
    const at = names.findIndex((other) => other.trim() === name.trim());
    if (at < 0)
      throw new MediaError("E_MEDIA_OPTION", what, `the column "${name}" for ${key}`, listed(names), "correct the option columns");
    found.set(key, [at]);
  }
  const wanted = needsTime ? (["time", ...CHANNELS] as const) : CHANNELS;
  const missing = CHANNELS.filter((key) => !found.has(key));
  if (missing.length) throw missingColumns(what, missing, names);
  if (needsTime && !found.has("time"))
    throw new MediaError(
      "E_MEDIA_OPTION",
      what,
      "a time column, or the option sampleRate",
      listed(names),
      'give sampleRate in Hz, or name the column: { columns: { time: "…" } }',
    );
  for (const key of wanted) {
    const places = found.get(key)!;
    if (places.length > 1)
      throw new MediaError(
        "E_MEDIA_FORMAT",
        what,
        `one column for ${key}`,
        listed(places.map((at) => names[at]!)),
        `say which: { columns: { ${key}: ${JSON.stringify(names[places[0]!])} } }`,
      );
  }
  const places = CHANNELS.map((key) => found.get(key)![0]!);
  const [force, turn] = [units.get(places[0]!), units.get(places[3]!)];
  const choice: Choice = { places };
  if (force) choice.acceleration = force === "g" ? "g" : "m/s2";
  if (turn) choice.gyroscope = /^d/.test(turn) ? "deg/s" : "rad/s";
  if (needsTime) {
    const time = found.get("time")![0]!;
    places.push(time);
    const unit = units.get(time);
    if (unit) choice.timeUnit = unit as TimeUnit;
  }
  return choice;
}

function missingColumns(what: string, missing: readonly Channel[], names: readonly string[]): MediaError {
  const example = missing.map((key) => `${key}: "…"`).join(", ");
  return new MediaError(
    "E_MEDIA_FORMAT",
    what,
    "columns for accelerometer and gyroscope x, y, z (ax … gz)",
    `none for ${missing.join(", ")} among ${listed(names)}`,
    `add what is missing, or say what it is called: { columns: { ${example} } }`,
  );
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 20).map((name) => JSON.stringify(name.length > 40 ? `${name.slice(0, 40)}…` : name));
  return shown.join(", ") + (names.length > 20 ? ` and ${names.length - 20} more` : "") || "no columns";
}
