// Kinds of values whichever realm made them. Jest, node:vm and some preloads of Electron have constructors of their own, and `instanceof` says no to
// what they make.
import { types } from "node:util";

interface Kinds {
  Float32Array: Float32Array;
  Float64Array: Float64Array;
  Int32Array: Int32Array;
  Uint8Array: Uint8Array;
}

// Of the engine's own slot, which neither a subclass (Buffer) nor a Proxy nor a name on the object can change.
const nameOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), Symbol.toStringTag)!.get as (
  this: unknown,
) => string | undefined;

/** "Float32Array", "Uint8Array" (of a Buffer too), …; undefined for what is no typed array, a Proxy around one included. */
export const typedArrayName = (value: unknown): string | undefined => nameOf.call(value);

export const isTypedArray = <K extends keyof Kinds>(value: unknown, name: K): value is Kinds[K] => typedArrayName(value) === name;

/** An ArrayBuffer or SharedArrayBuffer. */
export const isBuffer = (value: unknown): value is ArrayBuffer => types.isAnyArrayBuffer(value);

/** Plain bytes: a Uint8Array (a Buffer is one), Uint8ClampedArray or DataView, an ArrayBuffer or SharedArrayBuffer. */
export const isBytes = (value: unknown): value is Uint8Array | ArrayBuffer | DataView =>
  isBuffer(value) || types.isDataView(value) || ["Uint8Array", "Uint8ClampedArray"].includes(typedArrayName(value) ?? "");

/** The bytes as an array of this realm. Shared memory, and memory whose size may change, is copied: who reads later reads what was given. */
export function bytesIn(value: Uint8Array | ArrayBuffer | DataView): Uint8Array<ArrayBuffer> {
  const view = isBuffer(value) ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return (isSteady(view.buffer) ? view : Uint8Array.from(view)) as Uint8Array<ArrayBuffer>;
}

const OWN = { Float32Array, Float64Array, Int32Array, Uint8Array };

/** The array itself, or one of this realm over the same numbers, copied where `bytesIn` would. Undefined where it is no array of that name. */
export function own<K extends keyof Kinds>(value: unknown, name: K): Kinds[K] | undefined {
  if (!isTypedArray(value, name)) return undefined;
  const [Type, { buffer, byteOffset, length }] = [OWN[name], value as Kinds[K]];
  if (value instanceof Type && isSteady(buffer)) return value;
  return (isSteady(buffer) ? new Type(buffer as ArrayBuffer, byteOffset, length) : Type.from(value)) as Kinds[K];
}

const isSteady = (buffer: ArrayBufferLike): boolean => !types.isSharedArrayBuffer(buffer) && !("resizable" in buffer && buffer.resizable);

/** A URL of this or another realm, or of a library that brings its own. */
export const isUrl = (value: unknown): value is URL =>
  typeof value === "object" && value !== null && Object.prototype.toString.call(value) === "[object URL]" && "href" in value;

export const isPromise = (value: unknown): value is Promise<unknown> =>
  types.isPromise(value) || (typeof value === "object" && value !== null && "then" in value && typeof value.then === "function");

/** How messages call a value: its kind and, of arrays and buffers, its size. Never walks into it. */
export function kindOfValue(value: unknown): string {
  if (value === null || typeof value !== "object") return value === null ? "null" : typeof value;
  if (types.isProxy(value)) return "a Proxy";
  if (isBuffer(value)) return `${types.isSharedArrayBuffer(value) ? "SharedArrayBuffer" : "ArrayBuffer"} of ${value.byteLength} bytes`;
  if (types.isDataView(value)) return `DataView of ${value.byteLength} bytes`;
  const name = typedArrayName(value);
  if (name) return `${Buffer.isBuffer(value) ? "Buffer" : name} of ${(value as Uint8Array).length}`;
  return Array.isArray(value) ? `an array of ${value.length}` : "an object";
}
