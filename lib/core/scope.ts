// Scopes dispose intermediates: every tensor made inside, except what is returned, what keep() names, and parameters.
import { types } from "node:util";
import { AnymalError } from "./errors.js";
import { native } from "./native.js";
import { isPromise } from "./realm.js";
import type { Tensor } from "./tensor.js";
import { type Pieces, within } from "./turns.js";

/** What recorded inside a scope holds on to tensors: a node of the tape. */
interface Holder {
  free(): void;
}
interface Frame {
  tensors: Tensor[];
  holders: Holder[];
}
// Synchronous code only, so a plain stack per thread is enough.
const stack: Frame[] = [];
const builders: Tensor[][] = [];

let made = 0;
/** On this thread so far. */
export const tensorsMade = (): number => made;

/** Called by every new tensor. False when no scope is open. */
export function enroll(tensor: Tensor): boolean {
  ++made;
  builders[builders.length - 1]?.push(tensor);
  const top = stack[stack.length - 1];
  top?.tensors.push(tensor);
  return top !== undefined;
}

/** Called by every new node of the tape: when the scope throws, nobody will walk back over what it recorded. */
export function enrollHolder(holder: Holder): void {
  stack[stack.length - 1]?.holders.push(holder);
}

/** Takes a tensor out of the care of all scopes: its owner disposes it. */
export function keep<T extends Tensor>(tensor: T): T {
  tensor.kept = true;
  return tensor;
}

/** Runs `build`, synchronously. When it throws, all that it made is disposed, what it kept too: half a model has no owner. */
export function built<T>(build: () => T): T {
  const made: Tensor[] = [];
  builders.push(made);
  try {
    return build();
  } catch (error) {
    for (const tensor of made) if (!tensor.disposed) tensor.dispose();
    throw error;
  } finally {
    builders.pop();
    builders[builders.length - 1]?.push(...made);
  }
}

/** The same of work in pieces; between two of them others may build. What is abandoned half-way is disposed too. */
export function* builtInPieces<T>(build: Pieces<T>): Pieces<T> {
  const made: Tensor[] = [];
  let whole = false;
  try {
    const result = yield* within(build, () => {
      builders.push(made);
      return () => builders.pop();
    });
    whole = true;
    builders[builders.length - 1]?.push(...made);
    return result;
  } finally {
    if (!whole) for (const tensor of made) if (!tensor.disposed) tensor.dispose();
  }
}

/** Every Tensor in a returned value: itself, or inside arrays, maps, plain objects and disposable results. */
export function* tensorsIn(value: unknown, depth = 0): Generator<Tensor> {
  if (typeof value !== "object" || value === null || depth > 4) return;
  if ("handle" in value && "requiresGrad" in value) {
    yield value as Tensor;
    return;
  }
  if (ArrayBuffer.isView(value)) return;
  const parts = types.isMap(value) ? value.values() : Array.isArray(value) ? value : isPlain(value) ? Object.values(value) : [];
  for (const part of parts) yield* tensorsIn(part, depth + 1);
}
/** The same value with each Tensor in it exchanged: arrays, maps and plain objects are made anew, all else stays what it is. */
export function mapTensors<T>(value: T, exchange: (tensor: Tensor) => Tensor): T {
  const walk = (part: unknown): unknown => {
    if (typeof part !== "object" || part === null || ArrayBuffer.isView(part)) return part;
    if ("handle" in part && "requiresGrad" in part) return exchange(part as Tensor);
    if (Array.isArray(part)) return part.map(walk);
    if (types.isMap(part)) return new Map(Array.from(part, ([key, entry]) => [key, walk(entry)]));
    return isPlain(part) ? Object.fromEntries(Object.entries(part).map(([key, entry]) => [key, walk(entry)])) : part;
  };
  return walk(value) as T;
}
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  // The root of every chain is a realm's Object.prototype.
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/** Runs `fn` and disposes the tensors it made, except those in its result, those given to keep(), and leaves that require gradients. */
export function scope<T>(fn: () => T): T {
  const frame: Frame = { tensors: [], holders: [] };
  stack.push(frame);
  let result: T;
  try {
    result = fn();
    if (isPromise(result)) {
      Promise.resolve(result).catch(() => undefined); // it fails on its disposed tensors, and nobody will ask it
      throw new AnymalError(
        "E_ASYNC_SCOPE",
        "scope: expected a synchronous function, got one that returns a promise; await outside of the scope",
      );
    }
  } catch (error) {
    stack.pop();
    abandon(frame);
    throw error;
  }
  stack.pop();
  return leave(frame, result);
}

/** The same of work in pieces; between two of them others have scopes of their own. What is abandoned half-way is disposed too. */
export function* scopeInPieces<T>(work: Pieces<T>): Pieces<T> {
  const frame: Frame = { tensors: [], holders: [] };
  let whole = false;
  try {
    const result = yield* within(work, () => {
      stack.push(frame);
      return () => stack.pop();
    });
    whole = true;
    return leave(frame, result);
  } finally {
    if (!whole) abandon(frame);
  }
}

function abandon({ tensors, holders }: Frame): void {
  for (const holder of holders) holder.free();
  disposeAll(tensors);
}

/** Disposes what the result does not hold; the rest is in the care of the scope around it. */
function leave<T>({ tensors: mine, holders }: Frame, result: T): T {
  const returned = new Set(tensorsIn(result));
  const outer = stack[stack.length - 1];
  const rest: Tensor[] = [];
  for (const tensor of mine) {
    if (!returned.has(tensor)) rest.push(tensor);
    else outer?.tensors.push(tensor);
  }
  outer?.holders.push(...holders);
  disposeAll(rest);
  return result;
}

function disposeAll(tensors: readonly Tensor[]): void {
  const handles: number[] = [];
  for (const tensor of tensors) {
    if (tensor.disposed || tensor.kept || tensor.isParameter) continue;
    handles.push(tensor.release());
  }
  if (handles.length) native().tensor_dispose(handles);
}
