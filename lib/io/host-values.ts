// The bytes of a stored tensor as numbers on the host.
import { halfToFloat } from "./half.js";
import type { FileDType } from "./safetensors-header.js";

/** Floats as f32, integers as i32, bytes as u8 (I8 as stored); undefined for a dtype that no device has a form for. `wide` says what to do with an integer of more than 32 bits. */
export function hostValues(
  dtype: FileDType,
  bytes: ArrayBuffer,
  wide: (n: bigint) => never,
): Float32Array | Int32Array | Uint8Array | undefined {
  const narrow = (n: bigint): number => (BigInt.asIntN(32, n) === n ? Number(n) : wide(n));
  switch (dtype) {
    case "F32":
      return new Float32Array(bytes);
    case "F64":
      return Float32Array.from(new Float64Array(bytes));
    case "F16":
      return Float32Array.from(new Uint16Array(bytes), halfToFloat);
    case "BF16":
      return new Float32Array(Uint32Array.from(new Uint16Array(bytes), (u) => u << 16).buffer);
    case "I32":
      return new Int32Array(bytes);
    case "I64":
      return Int32Array.from(new BigInt64Array(bytes), narrow);
    case "U8":
    case "I8":
    case "BOOL":
      return new Uint8Array(bytes);
    default:
      return undefined;
  }
}
