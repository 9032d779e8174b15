// The two readers of CSV: recordings of sensors (lib/media/csv.ts) and captions (lib/data/csv.ts).
import { csvRows } from "../../../lib/data/csv.js";
import { linesOf } from "../../../lib/data/lines.js";
import { loadImu } from "../../../lib/media/imu.js";
import type { Random } from "../random.js";
import type { Seed, Target } from "../target.js";

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const HEADER = "time,ax,ay,az,gx,gy,gz";
const row = (i: number, separator = ",") => [i / 50, 0.1, -0.2, 9.81, 1e-3, 2, -3 * i].join(separator);
const table = (separator: string, end: string): Seed => ({
  bytes: encode([HEADER.replaceAll(",", separator), ...Array.from({ length: 8 }, (_, i) => row(i, separator))].join(end)),
  fields: [],
});

// biome-ignore format: a table
const CELLS = ["", " ", "0", "-1", "1e999", "-1e-999", "NaN", "Infinity", "0x10", "1_000", "1,5", '"1"', '"', '""', '"a""b"', "\u0000", "\ufeff", "\u2028", "é",
  "time", "__proto__", "9".repeat(400), "1".repeat(20), "#", "%"];

function build(random: Random): Uint8Array {
  const separator = random.pick([",", ",", ";", "\t", " "]);
  const names = random.chance(0.8) ? HEADER.split(",") : Array.from({ length: random.below(12) }, () => random.pick(CELLS));
  const lines = [names.join(separator)];
  for (let n = random.below(10), i = 0; n > 0; --n, ++i) {
    const cells = row(i, "|").split("|");
    if (random.chance(0.3)) cells[random.below(cells.length + 1)] = random.pick(CELLS);
    lines.push(cells.join(random.chance(0.95) ? separator : random.pick([",", ";"])));
  }
  return encode(random.pick(["", "", "\ufeff", "# a comment\n"]) + lines.join(random.pick(["\n", "\r\n", "\r"])));
}

export const csv: Target = {
  name: "csv",
  seeds: [table(",", "\n"), table(";", "\r\n"), { bytes: encode('image,caption\na.png,"a ""red"" ball,\nround"\nb.png,b\n'), fields: [] }],
  build,
  async run(bytes, path) {
    const [recording, captions] = await Promise.allSettled([
      loadImu({ modality: "imu", source: bytes.slice(), options: {} }),
      (async () => {
        for await (const _ of csvRows(path, linesOf(path))) void 0;
      })(),
    ]);
    for (const { status, reason } of [captions, recording] as PromiseRejectedResult[])
      if (status === "rejected") {
        if (/^E_/.test(reason?.code)) continue; // the other may have failed in another way
        throw reason;
      }
    if (recording.status === "rejected") throw recording.reason;
  },
};
