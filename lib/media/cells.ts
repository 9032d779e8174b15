// Cells of a table of numbers: numbers as programs and countries write them, dates of clocks, and the many words for nothing.

// Number("") is 0. Where commas do not part cells, they may stand for decimal points. Some devices end a line with a semicolon.
export function numberOf(cell: string, separator: string): number {
  const text = separator === "," && cell.endsWith(";") ? cell.slice(0, -1).trim() : cell;
  if (text === "") return Number.NaN;
  return Number(separator !== "," && /^[-+]?\d*,\d+(e[-+]?\d+)?$/i.test(text) ? text.replace(",", ".") : text);
}

/** How programs write that there is no value. */
export const isMissing = (cell: string): boolean => /^(?:[-+]?nan(?:\(ind\))?|null|none|n\/?a|#n\/a|nil|\\n|undefined)?$/i.test(cell);

/** Seconds of a date and time as ISO 8601 has it, "2023-10-28T15:52:24.401Z"; of a time of day alone, since midnight. */
export function dateSeconds(text: string): number {
  const match =
    /^(?:(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})[T ]\s*)?(\d{1,2})[:.](\d{2})[:.](\d{2})(?:[.,:](\d{1,12}))?\s*(Z|UTC|[-+]\d{2}:?(?:\d{2})?)?$/i.exec(
      text,
    );
  if (!match) return Number.NaN;
  const [, year, month, day, hours, minutes, seconds, fraction = "0", zone = ""] = match;
  const days = year === undefined ? 0 : Date.UTC(Number(year), Number(month) - 1, Number(day)) / 1000;
  const shift = /^([-+])(\d{2}):?(\d{2})?$/.exec(zone);
  const offset = shift ? (shift[1] === "-" ? -1 : 1) * (Number(shift[2]) * 3600 + Number(shift[3] ?? 0) * 60) : 0;
  return days + Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds) + Number(`0.${fraction}`) - offset;
}

/** Numbers as they come. A clock may also be dates. */
export class Column {
  #values = new Float64Array(1024);
  #count = 0;
  #numbers = 0;
  #dates = 0;
  #unread = 0;
  constructor(private readonly clock: boolean) {}

  get isDates(): boolean {
    return this.#dates > 0;
  }
  get isUnread(): boolean {
    return this.#unread > 0 || (this.#dates > 0 && this.#numbers > 0);
  }

  /** What is wrong, or undefined. */
  add(cell: string, separator = ","): string | undefined {
    if (isMissing(cell)) return this.push(Number.NaN);
    const value = numberOf(cell, separator);
    if (Number.isFinite(value)) return this.number(value);
    if (!this.clock) return cell;
    const seconds = dateSeconds(cell);
    if (Number.isFinite(seconds)) ++this.#dates;
    else ++this.#unread;
    return this.push(seconds);
  }

  number(value: number): undefined {
    ++this.#numbers;
    return this.push(value);
  }

  push(value: number): undefined {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#count * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count++] = value;
  }

  values(rows: number): Float64Array {
    return this.#values.subarray(0, rows);
  }
}
