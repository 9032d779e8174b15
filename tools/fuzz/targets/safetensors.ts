// lib/io/safetensors.ts and its header: every tensor that the file claims to hold is loaded.
import { defaultDevice } from "../../../lib/core/device.js";
import { SafetensorsFile } from "../../../lib/io/safetensors.js";
import { encodeHeader, type FileDType, fileDTypeBytes } from "../../../lib/io/safetensors-header.js";
import { joined } from "../input.js";
import type { Random } from "../random.js";
import { HOSTILE, type Seed, type Target } from "../target.js";

const DTYPES = ["F32", "BF16", "F16", "F64", "I64", "I32", "U8", "I8", "BOOL", "F8_E4M3", "U16"] as const;

function file(json: string, data: Uint8Array, length?: bigint): Uint8Array {
  const bytes = new TextEncoder().encode(json);
  const prefix = new DataView(new ArrayBuffer(8));
  prefix.setBigUint64(0, BigInt.asUintN(64, length ?? BigInt(bytes.length)), true);
  return joined(new Uint8Array(prefix.buffer), bytes, data);
}

function seed(...tensors: [string, FileDType, number[]][]): Seed {
  const header = encodeHeader(
    tensors.map(([name, dtype, shape]) => [name, { dtype, shape }]),
    { format: "pt" },
  );
  const bytes = tensors.reduce((sum, [, dtype, shape]) => sum + fileDTypeBytes(dtype) * shape.reduce((a, b) => a * b, 1), 0);
  return {
    bytes: joined(
      header,
      Uint8Array.from({ length: bytes }, (_, i) => i),
    ),
    fields: [{ at: 0, bytes: 8 }],
  };
}

/** A header whose entries are right but for some. */
function build(random: Random): Uint8Array {
  let at = 0;
  const entries = Array.from({ length: random.below(6) }, (_, i) => {
    const dtype = random.pick(DTYPES);
    const shape: unknown[] = Array.from({ length: random.below(4) }, () => random.below(5));
    const bytes = fileDTypeBytes(dtype) * (shape as number[]).reduce((a, b) => a * b, 1);
    const offsets: unknown[] = [at, at + bytes];
    at += bytes;
    const entry: Record<string, unknown> = { dtype, shape, data_offsets: offsets };
    if (random.chance(0.25)) lie(random, entry, shape, offsets);
    return `${JSON.stringify(random.chance(0.05) ? random.pick(["__metadata__", "__proto__", "constructor", ""]) : `t${random.below(12) || i}`)}:${JSON.stringify(entry)}`;
  });
  const json = `{${entries.join(",")}}`.replaceAll('"@', "").replaceAll('@"', "");
  return file(json, random.bytes(at), random.chance(0.05) ? random.pick(HOSTILE) : undefined);
}

function lie(random: Random, entry: Record<string, unknown>, shape: unknown[], offsets: unknown[]): void {
  const odd = random.pick<unknown>([...HOSTILE.map((n) => `@${n}@`), -1, 0.5, "@1e999@", "@-0@", null, [], {}, "4", true]);
  const list = random.pick([shape, offsets]);
  const how = random.below(5);
  if (how === 0) entry.dtype = random.pick<unknown>(["F31", "constructor", 7, null, ...DTYPES]);
  else if (how === 1) list[random.below(list.length + 1)] = odd;
  else if (how === 2) delete entry[random.pick(Object.keys(entry))];
  else if (how === 3) list.push(odd);
  else entry[random.pick(["dtype", "shape", "data_offsets"])] = odd;
}

export const safetensors: Target = {
  name: "safetensors",
  seeds: [
    seed(["a", "F32", [2, 3]], ["b", "BF16", [4]], ["c", "F16", [2, 2]], ["d", "I32", [2]]),
    seed(["empty", "F32", [0, 7]], ["scalar", "F64", []], ["none", "I64", [2, 0]], ["bytes", "U8", [5]]),
    { bytes: file("{}", new Uint8Array()), fields: [{ at: 0, bytes: 8 }] },
  ],
  build,
  async run(_bytes, path) {
    const device = defaultDevice();
    using opened = new SafetensorsFile(path);
    for (const name of opened.entries.keys()) {
      opened.bytes(name);
      opened.loadBytes(name, device).dispose();
      opened.load(name, device, { dtype: "bf16" }).dispose();
    }
    if (opened.entries.size) await device.synchronize(); // the next input takes the file's place
  },
};
