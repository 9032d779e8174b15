// datetime.strftime in the C locale, of local time.
import { spend } from "./budget.js";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(" ");

const dayOfYear = (now: Date) =>
  Math.round((Date.UTC(now.getFullYear(), now.getMonth(), now.getDate()) - Date.UTC(now.getFullYear(), 0, 1)) / 864e5);

/** ISO 8601's year and week: a week is of the year that its Thursday is in. */
function isoWeek(now: Date): [year: number, week: number] {
  const thursday = new Date(now.getFullYear(), now.getMonth(), now.getDate() + 3 - ((now.getDay() + 6) % 7));
  return [thursday.getFullYear(), Math.floor(dayOfYear(thursday) / 7) + 1];
}

const short = (name: string) => name.slice(0, 3);
const hour12 = (now: Date) => now.getHours() % 12 || 12;

/** A number with the digits it is padded to, or a text. */
const FIELDS: Readonly<Record<string, (now: Date) => string | readonly [value: number, width: number, fill?: string]>> = {
  a: (now) => short(DAYS[now.getDay()] as string),
  A: (now) => DAYS[now.getDay()] as string,
  b: (now) => short(MONTHS[now.getMonth()] as string),
  h: (now) => short(MONTHS[now.getMonth()] as string),
  B: (now) => MONTHS[now.getMonth()] as string,
  c: (now) => strftime(now, "%a %b %e %H:%M:%S %Y"),
  C: (now) => [Math.floor(now.getFullYear() / 100), 2],
  d: (now) => [now.getDate(), 2],
  D: (now) => strftime(now, "%m/%d/%y"),
  e: (now) => [now.getDate(), 2, " "],
  f: (now) => [now.getMilliseconds() * 1000, 6],
  F: (now) => strftime(now, "%Y-%m-%d"),
  g: (now) => [isoWeek(now)[0] % 100, 2],
  G: (now) => [isoWeek(now)[0], 4],
  H: (now) => [now.getHours(), 2],
  I: (now) => [hour12(now), 2],
  j: (now) => [dayOfYear(now) + 1, 3],
  k: (now) => [now.getHours(), 2, " "],
  l: (now) => [hour12(now), 2, " "],
  m: (now) => [now.getMonth() + 1, 2],
  M: (now) => [now.getMinutes(), 2],
  n: () => "\n",
  p: (now) => (now.getHours() < 12 ? "AM" : "PM"),
  P: (now) => (now.getHours() < 12 ? "am" : "pm"),
  r: (now) => strftime(now, "%I:%M:%S %p"),
  R: (now) => strftime(now, "%H:%M"),
  s: (now) => [Math.floor(now.getTime() / 1000), 1],
  S: (now) => [now.getSeconds(), 2],
  t: () => "\t",
  T: (now) => strftime(now, "%H:%M:%S"),
  u: (now) => [now.getDay() || 7, 1],
  U: (now) => [Math.floor((dayOfYear(now) + 7 - now.getDay()) / 7), 2],
  V: (now) => [isoWeek(now)[1], 2],
  w: (now) => [now.getDay(), 1],
  W: (now) => [Math.floor((dayOfYear(now) + 7 - ((now.getDay() + 6) % 7)) / 7), 2],
  x: (now) => strftime(now, "%m/%d/%y"),
  X: (now) => strftime(now, "%H:%M:%S"),
  y: (now) => [now.getFullYear() % 100, 2],
  Y: (now) => [now.getFullYear(), 1],
  z: () => "", // datetime.now() knows no zone
  Z: () => "",
  "%": () => "%",
};

/** A minus before the letter leaves the padding away, as glibc has it; an unknown letter stays as it is. */
export function strftime(now: Date, format: string): string {
  spend(format.length);
  return format.replace(/%([-_0^#]?)([a-zA-Z%])/g, (whole, flag: string, letter: string) => {
    const field = FIELDS[letter]?.(now);
    if (field === undefined) return whole;
    if (typeof field === "string") return flag === "^" ? field.toUpperCase() : field;
    const [value, width, fill = "0"] = field;
    return flag === "-" ? String(value) : String(value).padStart(width, flag === "_" ? " " : flag === "0" ? "0" : fill);
  });
}
