// Charts as inline SVG: lines over steps, with numbers at the axes that people would write.

export interface Line {
  name: string;
  points: readonly (readonly [x: number, y: number])[];
  /** Dots beside the line, where there are few points. */
  dots?: boolean;
  /** In the background of another one. */
  faint?: boolean;
}
export interface ChartOptions {
  /** How a value at the vertical axis is written. */
  written?: (value: number) => string;
  /** The axis begins at 0. */
  fromZero?: boolean;
}

const [WIDTH, HEIGHT] = [420, 210];
const EDGE = { left: 54, right: 10, top: 10, bottom: 26 };
/** Points of a line; of more, each stretch is shown by its least and largest. */
const MOST_POINTS = 500;

export const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`).replace(/(?![\n\t])\p{Cc}/gu, "");

/** `about` says what the chart shows to who does not see it. */
export function chart(lines: readonly Line[], about: string, { written = short, fromZero = false }: ChartOptions = {}): string {
  const shown = lines.map((line) => ({ ...line, points: thinned(line.points.filter((point) => point.every(Number.isFinite))) }));
  const all = shown.flatMap(({ points }) => points);
  if (!all.length) return "";
  const [xs, ys] = [rangeOf(all.map(([x]) => x)), rangeOf(all.map(([, y]) => y).concat(fromZero ? [0] : []))];
  const [xTicks, yTicks] = [ticks(...xs, 5), ticks(...ys, 4)];
  const x = scale(xs, [EDGE.left, WIDTH - EDGE.right]);
  const y = scale([Math.min(ys[0], yTicks[0] as number), Math.max(ys[1], yTicks.at(-1) as number)], [HEIGHT - EDGE.bottom, EDGE.top]);
  const grid = yTicks.map(
    (value) =>
      `<line class="grid" x1="${EDGE.left}" x2="${WIDTH - EDGE.right}" y1="${y(value)}" y2="${y(value)}"/><text x="${EDGE.left - 6}" y="${y(value)}" dy=".35em" text-anchor="end">${escaped(written(value))}</text>`,
  );
  const steps = xTicks
    .filter((value) => Number.isInteger(value))
    .map((value) => `<text x="${x(value)}" y="${HEIGHT - 8}" text-anchor="middle">${escaped(short(value))}</text>`);
  const drawn = shown.map(({ points, dots, faint, name }, i) => {
    const color = `c${faint ? 0 : i % 5}`;
    const path = `<polyline class="line ${color}${faint ? " faint" : ""}" points="${points.map(([px, py]) => `${x(px)},${y(py)}`).join(" ")}"/>`;
    const marks =
      dots || points.length === 1
        ? points.map(
            (p) =>
              `<circle class="dot ${color}" cx="${x(p[0])}" cy="${y(p[1])}" r="3"><title>${escaped(`${name} ${short(p[1])} at ${p[0]}`)}</title></circle>`,
          )
        : [];
    return path + marks.join("");
  });
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(about)}">${[...grid, ...steps, ...drawn].join("")}</svg>`;
}

/** A medium's values over time: no axes, all of the width. */
export function sparkline(lines: readonly (readonly number[])[], filled: boolean, about: string): string {
  const [width, height] = [320, 64];
  const range = rangeOf(lines.flat());
  const y = scale(range, [height - 2, 2]);
  const place = (line: readonly number[]) => {
    const x = scale([0, Math.max(1, line.length - 1)], [1, width - 1]);
    return line.map((value, i) => `${x(i)},${y(value)}`);
  };
  const [low = [], high = []] = lines;
  const drawn = filled
    ? `<polygon class="area" points="${[...place(low), ...place(high).reverse()].join(" ")}"/>`
    : lines.map((line, i) => `<polyline class="line c${i % 5}" points="${place(line).join(" ")}"/>`).join("");
  return `<svg class="spark" viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" role="img" aria-label="${escaped(about)}">${drawn}</svg>`;
}

type Range = [least: number, largest: number];

function rangeOf(values: readonly number[]): Range {
  const least = values.reduce((a, b) => Math.min(a, b), Infinity);
  const largest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  if (least < largest) return [least, largest];
  const around = Math.abs(least) / 2 || 1;
  return [least - around, largest + around];
}

const scale =
  ([from, to]: Range, [first, last]: Range) =>
  (value: number): number =>
    Math.round(100 * (first + ((value - from) / (to - from)) * (last - first))) / 100;

/** About `count` multiples of 1, 2 or 5 times a power of ten, the first and the last of which lie within or at the range. */
export function ticks(least: number, largest: number, count: number): number[] {
  const rough = (largest - least) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = power * ([1, 2, 5, 10].find((factor) => factor * power >= 0.7 * rough) ?? 10);
  const found: number[] = [];
  for (let k = Math.ceil(least / unit - 1e-9); k * unit <= largest + unit * 1e-9; ++k) found.push(Number((k * unit).toPrecision(12)));
  return found.length ? found : [least];
}

/** "1.2k", "3.5e-5". */
export function short(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${digits(value / 1e9)}G`;
  if (size >= 1e6) return `${digits(value / 1e6)}M`;
  if (size >= 1e4) return `${digits(value / 1e3)}k`;
  return size !== 0 && size < 1e-3
    ? value.toExponential(Number.isInteger(Number((size / 10 ** Math.floor(Math.log10(size))).toFixed(3))) ? 0 : 1)
    : digits(value);
}
const digits = (value: number): string => String(Number(value.toPrecision(3)));

function thinned(points: Line["points"]): Line["points"] {
  if (points.length <= MOST_POINTS) return points;
  const stretches = MOST_POINTS / 2;
  return Array.from({ length: stretches }, (_, i) => {
    const some = points.slice(Math.floor((i * points.length) / stretches), Math.floor(((i + 1) * points.length) / stretches));
    const by = [...some].sort((a, b) => a[1] - b[1]);
    return [by[0], by.at(-1)].filter((point) => point !== undefined).sort((a, b) => a[0] - b[0]);
  }).flat();
}

/** Each value with what came before it, whose weight falls by a factor from step to step. */
export function smoothed(points: Line["points"], factor = 0.9): Line["points"] {
  let [sum, weight] = [0, 0];
  return points.map(([x, y]) => {
    sum = factor * sum + y;
    weight = factor * weight + 1;
    return [x, sum / weight] as const;
  });
}
