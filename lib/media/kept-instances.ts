// Instances of WebAssembly that are kept for the next sound: to make one takes longer than to decode a short sound. Only in the decoding worker.

/** Of https://webassembly.github.io/spec/js-api what is needed here; Node.js's types have none of it. */
interface Wasm {
  instantiate(source: object, imports?: Imports): Promise<unknown>;
  Module: { new (bytes: Uint8Array): object; imports(module: object): { module: string; name: string; kind: string }[] };
  Memory: abstract new () => Memory;
  Global: abstract new () => object;
}
interface Memory {
  readonly buffer: ArrayBuffer;
}
type Call = (...given: unknown[]) => unknown;
type Exports = Record<string, unknown>;
type Imports = Record<string, Record<string, unknown>>;

interface Kept {
  module: object;
  exports: Exports;
  memory: Memory;
  /** Of the decoder that has it now. */
  imports: Imports;
  /** A call was left by an error, so that its stack was not given back. */
  isSpent: boolean;
}

/** Of one module; a sound takes two at most. */
const MOST = 2;
const STEP = 1 << 16;
const zeros = new Uint8Array(STEP);
const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;

const free = new WeakMap<object, Kept[]>();
/** The bytes of a memory as its module makes it, up to the last that is not zero. */
const images = new WeakMap<object, { bytes: Uint8Array; size: number }>();
let lent: Kept[] = [];
let isSharedUsed = false;

/** From here on what a package of decoders instantiates may be an instance that an earlier sound has given back. */
export function keepInstances(): void {
  const make = wasm.instantiate;
  wasm.instantiate = async (source, imports = {}) => {
    if (!(source instanceof wasm.Module))
      return shared((await make(source, imports)) as { module: object; instance: { exports: Exports } });
    const kept = free.get(source)?.pop() ?? (await made(make, source, imports));
    if (!kept) return make(source, imports);
    kept.imports = imports;
    lent.push(kept);
    const exports = watched(kept.exports, (call, given) => {
      try {
        return call(...given);
      } catch (error) {
        kept.isSpent = true;
        throw error;
      }
    });
    return { exports };
  };
}

/**
 * A sound has ended: what it used becomes as new, or is dropped where something went wrong. False where it went wrong while it used an instance that
 * a package keeps for all of its sounds, which nothing outside of the package can make new.
 */
export function giveBack(isGood: boolean): boolean {
  const [used, isSafe] = [lent, isGood || !isSharedUsed];
  lent = [];
  isSharedUsed = false;
  for (const kept of isGood ? used : []) {
    const others = free.get(kept.module) ?? [];
    if (!kept.isSpent && others.length < MOST && renewed(kept)) free.set(kept.module, [...others, kept]);
  }
  return isSafe;
}

/** Undefined for an instance that has more state than its memory and its stack. */
async function made(make: Wasm["instantiate"], module: object, imports: Imports): Promise<Kept | undefined> {
  const wanted = wasm.Module.imports(module);
  if (wanted.some(({ kind }) => kind !== "function")) return undefined;
  const kept: Partial<Kept> & Pick<Kept, "imports"> = { imports };
  const forwarding: Imports = {};
  for (const { module: space, name } of wanted) {
    forwarding[space] ??= {};
    forwarding[space][name] = (...given: unknown[]) => (kept.imports[space]![name] as Call)(...given);
  }
  const { exports } = (await make(module, forwarding)) as { exports: Exports };
  const all = Object.values(exports);
  const [memory, another] = all.filter((value): value is Memory => value instanceof wasm.Memory);
  if (!memory || another || all.some((value) => value instanceof wasm.Global && isMutable(value))) return undefined;
  if (!images.has(module)) images.set(module, imageOf(memory));
  return Object.assign(kept, { module, exports, memory, isSpent: false });
}

/** One that its package keeps, made of bytes: that the sound has called it is all that is seen of it. */
function shared({ module, instance }: { module: object; instance: { exports: Exports } }): unknown {
  const exports = watched(instance.exports, (call, given) => {
    isSharedUsed = true;
    return call(...given);
  });
  return { module, instance: { exports } };
}

const watched = (exports: Exports, around: (call: Call, given: unknown[]) => unknown): Exports =>
  Object.fromEntries(
    Object.entries(exports).map(([name, value]) => [
      name,
      typeof value === "function" ? (...given: unknown[]) => around(value as Call, given) : value,
    ]),
  );

function isMutable(global: object): boolean {
  try {
    Object.assign(global, { value: (global as { value: unknown }).value });
    return true;
  } catch {
    return false;
  }
}

function imageOf({ buffer }: Memory): { bytes: Uint8Array; size: number } {
  const bytes = new Uint8Array(buffer);
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) --end;
  return { bytes: bytes.slice(0, end), size: bytes.length };
}

/** Every byte is as it was. Most of a memory was never touched, and to read that takes no page. */
function renewed({ module, memory }: Kept): boolean {
  const image = images.get(module)!;
  if (memory.buffer.byteLength !== image.size) return false; // one that grew stays large
  for (let at = 0; at < image.size; at += STEP) {
    const part = new Uint8Array(memory.buffer, at, Math.min(STEP, image.size - at));
    if (Buffer.compare(part, zeros.subarray(0, part.length)) !== 0) part.fill(0);
  }
  new Uint8Array(memory.buffer).set(image.bytes);
  return true;
}
