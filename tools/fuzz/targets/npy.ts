// lib/media/npy.ts: NumPy's array file as a recording.
import { loadImu } from "../../../lib/media/imu.js";
import { isNpy, readNpy } from "../../../lib/media/npy.js";
import { joined } from "../input.js";
import type { Random } from "../random.js";
import { type Field, HOSTILE, type Seed, type Target } from "../target.js";

interface Npy {
  header: string;
  data: Uint8Array;
  version?: number;
  /** What the prefix says. */
  length?: number;
}

function npy({ header, data, version = 1, length }: Npy): Seed {
  const bytes = Buffer.from(header, "latin1");
  const prefix = Buffer.from(version === 1 ? "\x93NUMPY\x01\x00\0\0" : `\x93NUMPY${String.fromCharCode(version)}\x00\0\0\0\0`, "latin1");
  if (version === 1) prefix.writeUInt16LE((length ?? bytes.length) & 0xffff, 8);
  else prefix.writeUInt32LE((length ?? bytes.length) >>> 0, 8);
  const size: Field = { at: 8, bytes: version === 1 ? 2 : 4 };
  return { bytes: joined(prefix, bytes, data), fields: [{ at: 6, bytes: 1 }, size] };
}

const header = (descr: string, shape: string, fortran = "False") =>
  `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': (${shape}), }\n`;
const floats = (n: number) => new Uint8Array(Float32Array.from({ length: n }, (_, i) => i / 8).buffer);

function build(random: Random): Uint8Array {
  const size = () => (random.chance(0.3) ? String(random.pick(HOSTILE)) : String(random.pick([6, 6, 4, 1, 0])));
  const shape = random.chance(0.7) ? random.pick(["6, 4", "4, 6", "24,"]) : Array.from({ length: random.below(4) }, size).join(", ");
  const descr = random.pick(["<f4", "<f4", "<f8", ">f4", "|i2", "<i4", "=f8", "<c16", "|O", "|V8", "<f2", "<f16"]);
  const given = { header: header(descr, shape, random.pick(["True", "False", "None"])), data: random.bytes(random.below(400)) };
  const length = random.chance(0.15) ? Number(random.pick(HOSTILE) & 0xffffffffn) : undefined;
  return npy({ ...given, version: random.pick([1, 1, 2, 3, 0, 255]), ...(length !== undefined && { length }) }).bytes;
}

export const npyTarget: Target = {
  name: "npy",
  seeds: [
    npy({ header: header("<f4", "6, 10"), data: floats(60) }),
    npy({ header: header(">f4", "10, 6", "True"), data: floats(60), version: 2 }),
    npy({ header: header("<i2", "6, 10"), data: floats(30) }),
  ],
  build,
  async run(bytes) {
    if (!isNpy(bytes)) return; // what is no npy is read as a table
    readNpy(bytes, "fuzzed.npy");
    await loadImu({ modality: "imu", source: bytes.slice(), options: { sampleRate: 50 } });
  },
};
