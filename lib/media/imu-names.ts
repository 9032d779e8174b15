// What the name of a column says: which sensor and axis, in what unit, and where the sensor sits. The same words are looked for in names of files.

export type TimeUnit = "s" | "ms" | "us" | "ns";
export type AccelerationUnit = "g" | "m/s2" | "mg";
export type GyroscopeUnit = "deg/s" | "rad/s" | "mdeg/s";

/** total: an accelerometer. linear: gravity was taken out. bare: x, y or z of a sensor that something else names. */
export type Kind = "total" | "linear" | "gravity" | "gyroscope" | "bare";

export interface SensorName {
  kind: Kind;
  /** 0, 1, 2 for x, y, z. */
  axis: number;
  acceleration?: AccelerationUnit;
  gyroscope?: GyroscopeUnit;
  /** Words that are none of the above: "hand", "left wrist"; "" where there are none. */
  place: string;
  /** Of "acc_16g_x": PAMAP2 has two accelerometers in one place. */
  range?: number;
  /** The name is ROS's for what an accelerometer measures: gravity may be in it. */
  ros?: boolean;
}
export interface TimeName {
  unit?: TimeUnit;
  /** Ego4D's clock of the video, where another one counts the sensor's component. */
  canonical: boolean;
}

const set = (words: string): ReadonlySet<string> => new Set(words.split(" "));
const ACCELERATION = set(
  "acc accl accel accels accelero acceleration accelerations accelerometer accelerometers accelerometre beschleunigung aceleracion acelerometro accelerazione accelerometro",
);
const GYROSCOPE = set("gyr gyro gyros gyroscope gyroscopes gyroskop giroscopio gyrometer omega angvel rotrate rotationrate rot rotation");
const ANGULAR = set("angular angle ang rate");
const SPEED = set("velocity vel rate speed");
const GRAVITY = set("gravity grav");
const LINEAR = set("linear lin lineare lineaire lineal user body dynamic free");
const WITHOUT = set("without no excluding excl minus ohne sans sin");
const WITH = set("including incl with total tot mit avec con");
const PLAIN = set("imu raw sensor sensors data value values reading readings cal calibrated axis component the of body t ag");
const OTHER = set(
  `mag magn magnet magnetic magnetometer compass quat quaternion quaternions q euler orientation attitude roll pitch yaw heading temp temperature pressure
  baro barometer position pos vector matrix mean avg average std stddev min max med median var variance cov covariance covar bias offset jerk fft energy mad iqr sma entropy corr
  correlation noise accuracy quality status magnitude norm abs skewness kurtosis label activity time timestamp`.replace(/\s+/g, " "),
);
const AXES = "xyz";
/** Words that may stand in one word with others: "userAccelerationX", "accx", "bodygyroz". Longest first. */
const JOINED = [...ACCELERATION, ...GYROSCOPE, ...GRAVITY, ...LINEAR, ...ANGULAR, ...SPEED, ...WITH, ...WITHOUT, ...OTHER, "imu", "raw"]
  .filter((word) => word.length > 2 && word !== "time" && word !== "con")
  .sort((a, b) => b.length - a.length);
const BY_LETTER = new Map(
  [...new Set(JOINED.map((word) => word[0]!))].map((letter) => [letter, JOINED.filter((word) => word[0] === letter)]),
);
const joinedAt = (word: string, at: number): string | undefined => BY_LETTER.get(word[at] ?? "")?.find((one) => word.startsWith(one, at));

const TURNS: Readonly<Record<GyroscopeUnit, ReadonlySet<string>>> = {
  "deg/s": set("degs degsec degps dps degrees degreessec degreess degreesps degreespersecond degreespersec degpersec degpersecond degs1"),
  "rad/s": set("rads radsec radps radians radianss radianssec radianspersecond radpersec radpersecond rads1"),
  "mdeg/s": set("mdps mdegs mdegsec millidps millidegs"),
};
const FORCES: Readonly<Record<AccelerationUnit, ReadonlySet<string>>> = {
  "m/s2": set("ms2 mss mps2 msec2 mssec mpss msecsec meterspersecondsquared metrespersecondsquared meterpersecondsquared msquaredsecond"),
  g: set("g gs gforce gunits"),
  mg: set("mg millig milligs"),
};
const TIMES: Readonly<Record<TimeUnit, ReadonlySet<string>>> = {
  s: set("s sec secs second seconds"),
  ms: set("ms msec msecs millis millisec millisecond milliseconds"),
  us: set("us usec usecs micros microsec microsecond microseconds"),
  ns: set("ns nsec nsecs nanos nanosec nanosecond nanoseconds"),
};
const unitIn = <U extends string>(units: Readonly<Record<U, ReadonlySet<string>>>, word: string): U | undefined =>
  (Object.keys(units) as U[]).find((unit) => units[unit].has(word));

/** "[m/s²]" → ms2 */
const letters = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]/g, "");

function plain(name: string): string {
  const text = name.slice(0, 200).replace(/[°º]/g, "deg ").normalize("NFKD").replace(/[\u0300-\u036f]/g, ""); // biome-ignore format: one chain
  return text.replace(/[μµ]/g, "u");
}

/** The unit in brackets, if one stands there, and the name without it. */
function bracketed(name: string, isUnit: (word: string) => boolean): { unit?: string; rest: string } {
  for (const match of name.matchAll(/[([{]([^()[\]{}]*(?:\([^()]*\)[^()[\]{}]*)?)[)\]}]/g))
    if (isUnit(letters(match[1]!)))
      return { unit: letters(match[1]!), rest: `${name.slice(0, match.index)} ${name.slice(match.index + match[0].length)}` };
  return { rest: name };
}

/** "userAccelerationX" → user, acceleration, x */
function wordsOf(name: string): string[] {
  const split = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/([A-Z])([A-Z][a-z]{2})/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/);
  return split.filter((word) => word !== "").flatMap((word) => apart(word) ?? [word]);
}

const known = (word: string): boolean =>
  [ACCELERATION, GYROSCOPE, GRAVITY, LINEAR, ANGULAR, SPEED, WITH, WITHOUT, PLAIN, OTHER].some((words) => words.has(word));

/** A word that is several; undefined where it is not all made of known ones. */
function apart(word: string): string[] | undefined {
  if (known(word) || word.length < 2 || word.length > 60) return undefined;
  if (/^[agw][xyz]$/.test(word)) return [word[0]!, word[1]!];
  if (/^[xyz][agw]$/.test(word)) return [word[1]!, word[0]!];
  if (/^[xyz]axis$|^axis[xyz]$/.test(word)) return [word.replace("axis", "")];
  const found: string[] = [];
  let rest = word;
  if (/^[xyz]/.test(rest) && joinedAt(rest, 1)) {
    found.push(rest[0]!);
    rest = rest.slice(1);
  }
  while (rest) {
    const next = joinedAt(rest, 0) ?? (found.length ? tail(rest, found.at(-1)!) : undefined);
    if (!next) return undefined;
    found.push(next);
    rest = rest.slice(next.length).replace(/^axis$/, "");
  }
  return found;
}

/** What may follow a sensor in one word: the "1" of acc1, the "x" of accx. */
const tail = (rest: string, before: string): string | undefined =>
  (isSensorWord(before) ? /^(?:\d+|[xyz](?=$|axis$))/ : /^[xyz](?=$|axis$)/).exec(rest)?.[0];

const isSensorUnit = (word: string): boolean => unitIn(TURNS, word) !== undefined || unitIn(FORCES, word) !== undefined;

/** The unit that a name ends in without brackets: "acc_x_m_s2", "gyro_x_dps". */
function trailing(words: readonly string[], isUnit: (word: string) => boolean, least: number): { unit?: string; rest: readonly string[] } {
  for (let count = Math.min(4, words.length - least); count > 0; --count) {
    const unit = words.slice(-count).join("");
    if (isUnit(unit)) return { unit, rest: words.slice(0, -count) };
  }
  return { rest: words };
}

const isSensorWord = (word: string): boolean => ACCELERATION.has(word) || GYROSCOPE.has(word) || GRAVITY.has(word);
const hasSensor = (words: readonly string[]): boolean => words.some(isSensorWord) || isAngular(words);
const isAngular = (words: readonly string[]): boolean => words.some((w) => ANGULAR.has(w)) && words.some((w) => SPEED.has(w));

export function sensorName(name: string): SensorName | undefined {
  if (!/[xyz]/i.test(name)) return undefined;
  const { unit: inBrackets, rest } = bracketed(plain(name), isSensorUnit);
  let words: readonly string[] = wordsOf(rest);
  let unit = inBrackets;
  if (!unit) {
    const shorter = trailing(words, isSensorUnit, 1);
    // The g of "g_x" is no unit.
    if (shorter.unit && (hasSensor(shorter.rest) || /^[agw]$/.test(shorter.rest[0] ?? "") || shorter.unit.length > 1))
      [unit, words] = [shorter.unit, shorter.rest];
  }
  const axes = words.filter((word) => /^[xyz]$/.test(word));
  if (axes.length !== 1) return undefined;
  const read = kindOf(words.filter((word) => word !== axes[0]));
  if (!read) return undefined;
  const acceleration = unit && unitIn(FORCES, unit);
  const gyroscope = unit && unitIn(TURNS, unit);
  let { kind } = read;
  if (kind === "gyroscope" && acceleration) return undefined;
  if (kind !== "gyroscope" && kind !== "bare" && gyroscope) return undefined;
  if (kind === "bare") kind = acceleration ? "total" : gyroscope ? "gyroscope" : "bare";
  const ros = kind === "linear" && /(?:^|[._/])linear_?acceleration[._/]/i.test(name);
  const units = { ...(acceleration && { acceleration }), ...(gyroscope && { gyroscope }) };
  return { ...read, kind, axis: AXES.indexOf(axes[0]!), ...units, ...(ros && { ros }) };
}

function kindOf(words: readonly string[]): Omit<SensorName, "axis"> | undefined {
  const angular = isAngular(words);
  if (words.some((word) => OTHER.has(word))) return undefined;
  const sensors = words.filter(isSensorWord);
  const letter = sensors.length || angular ? undefined : words.find((word) => /^[agw]$/.test(word));
  const range = words.map((word) => /^(\d+)g$/.exec(word)?.[1]).find((digits) => digits !== undefined);
  const is = (some: ReadonlySet<string>) => words.some((word) => some.has(word));
  const turns = is(GYROSCOPE) || angular || letter === "g" || letter === "w";
  const accelerates = is(ACCELERATION) || letter === "a";
  if (turns && accelerates) return undefined;
  const used = (word: string) =>
    isSensorWord(word) ||
    PLAIN.has(word) ||
    LINEAR.has(word) ||
    word === letter ||
    /^\d+g$/.test(word) ||
    (angular && (ANGULAR.has(word) || SPEED.has(word)));
  const rest = words.filter((word) => !used(word) && !WITH.has(word) && !(accelerates && (WITHOUT.has(word) || word === "g")));
  const place = rest.join(" ");
  if (turns) return { kind: "gyroscope", place };
  if (!accelerates) return is(GRAVITY) ? { kind: "gravity", place } : !rest.length && !is(LINEAR) ? { kind: "bare", place } : undefined;
  const without = is(WITHOUT) && (is(GRAVITY) || words.includes("g"));
  const linear = without || (is(LINEAR) && !is(WITH));
  return { kind: linear ? "linear" : "total", place, ...(range && { range: Number(range) }) };
}

const TIME = set("time timestamp timestamps datetime stamp ts t elapsed zeit temps tiempo tempo epoch epoc unixtime");
const TIME_BESIDE = set(
  "imu sensor sample unix utc epoch epoc elapsed time stamp timestamp system device event host local rec recording recorded video canonical component mono monotonic boot header cal raw since start absolute relative date posix sync synced in reboot logging motion shimmer",
);

export function timeName(name: string): TimeName | undefined {
  if (!/t|epoc|elapsed|zeit|sec|milli|micro|nano/i.test(name)) return undefined;
  const isUnit = (word: string) => unitIn(TIMES, word) !== undefined;
  const { unit: inBrackets, rest } = bracketed(plain(name), isUnit);
  // "(01:00)" is a time zone.
  const words = wordsOf(
    rest.replace(/\([^()]*\)/g, (part) => (/\d/.test(part) ? " " : part)).replace(/time_?stamps?/gi, " timestamp "),
  ).flatMap((word) => {
    const joined = /^(time|t|ts)(s|ms|us|ns|sec|secs|seconds|millis|micros|nanos)$/.exec(word);
    return joined && !TIME.has(word) ? [joined[1]!, joined[2]!] : [word];
  });
  const { unit: last, rest: left } = inBrackets ? { unit: inBrackets, rest: words } : trailing(words, isUnit, 0);
  const first = !last && words.length > 1 && isUnit(words[0]!) ? words[0] : undefined; // seconds_elapsed
  const unit = last ?? first;
  const others = first ? words.slice(1) : left;
  const spelled = unit !== undefined && unit.length > 2;
  if (!others.length) return spelled ? { unit: unitIn(TIMES, unit)!, canonical: false } : undefined;
  if (!others.some((word) => TIME.has(word))) return undefined;
  // "accelerometerTimestamp_sinceReboot(s)", "Shimmer_AA01_Timestamp_CAL"
  const stamp = others.includes("timestamp") || others.includes("time");
  const beside = (word: string) => TIME_BESIDE.has(word) || (stamp && (isSensorWord(word) || /^[a-z]{1,4}\d{1,4}$/.test(word)));
  if (!others.every((word) => TIME.has(word) || beside(word))) return undefined;
  return { ...(unit && { unit: unitIn(TIMES, unit)! }), canonical: others.includes("canonical") };
}

/** A cell of a line of units that follows the names: "m/(s^2)", "ms". */
export const isUnitCell = (cell: string): boolean => {
  const word = letters(plain(cell));
  return isSensorUnit(word) || unitIn(TIMES, word) !== undefined;
};

export interface SensorOf {
  kind: Kind;
  place: string;
  /** "TotalAcceleration", beside which an "Accelerometer" may lack gravity. */
  whole: boolean;
}

/** Which sensor a file, a key or a value named so holds: "Accelerometer.csv", "watch-gyro", "acc_exp01_user01.txt". */
export function sensorOfName(name: string): SensorOf | undefined {
  const words = wordsOf(plain(name).replace(/\.\w{1,5}$/, ""));
  if (words.length === 1 && /^[agw]$/.test(words[0]!)) return undefined;
  const read = kindOf(words.filter((word) => !/^[xyz]$/.test(word)));
  return read && read.kind !== "bare" ? { kind: read.kind, place: read.place, whole: words.some((word) => WITH.has(word)) } : undefined;
}
