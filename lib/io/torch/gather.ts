// The numbers of a view, in order, from a file where they lie in another one. The file is read from front to back in parts of a few megabytes; each
// number goes to its place from there.
import { shapeSize } from "../safetensors-header.js";
import type { Bytes } from "./cursor.js";
import type { StoredTensor } from "./tensor.js";

/** Read at a time. */
const PART = 2 ** 22;
/** Made at a time: of what lies in order, and of what does not, where each piece may go through all of the file's part. */
const PIECE = { ordered: 2 ** 23, scattered: 2 ** 26 };

interface Dimension {
  size: number;
  /** In numbers: between neighbours in the file, and in what is made. */
  from: number;
  to: number;
}

/** The tensor's bytes in pieces, of which each takes at most 64 MiB. */
export function* piecesOf(file: Bytes, tensor: StoredTensor): Generator<Uint8Array> {
  if (tensor.numel === 0) return;
  if (!tensor.isContiguous) {
    for (const part of divided(tensor, PIECE.scattered)) yield gathered(file, part);
    return;
  }
  const start = tensor.storage.place + tensor.first * tensor.dtype.bytes;
  for (let at = 0; at < tensor.bytes; at += PIECE.ordered)
    yield new Uint8Array(file.read(start + at, Math.min(PIECE.ordered, tensor.bytes - at)));
}

function* divided(tensor: StoredTensor, most: number): Generator<StoredTensor> {
  const [rows = 1, ...rest] = tensor.shape;
  const row = shapeSize(rest) * tensor.dtype.bytes;
  if (tensor.bytes <= most) yield tensor;
  else if (row > most) for (let i = 0; i < rows; ++i) yield* divided(tensor.select(i), most);
  else {
    const some = Math.floor(most / row);
    for (let i = 0; i < rows; i += some) yield tensor.narrow(0, i, Math.min(some, rows - i));
  }
}

/** All of the tensor's bytes. */
export function gathered(file: Bytes, tensor: StoredTensor): Uint8Array {
  const { bytes: width } = tensor.dtype;
  const start = tensor.storage.place;
  if (tensor.numel === 0) return new Uint8Array();
  if (tensor.isContiguous) return new Uint8Array(file.read(start + tensor.first * width, tensor.bytes));
  const into = new Uint8Array(tensor.bytes);
  // From the widest step in the file to the narrowest, so that it is read in its own order.
  const dimensions = tensor.shape
    .map((size, i): Dimension => ({ size, from: tensor.stride[i] as number, to: shapeSize(tensor.shape.slice(i + 1)) }))
    .filter(({ size }) => size > 1)
    .sort((a, b) => b.from - a.from);
  for (const { dims, from, to } of blocks(dimensions, tensor.first, 0, PART / width)) {
    const part = file.read(start + from * width, (reach(dims) + 1) * width);
    scatter(part, into, dims, to, width);
  }
  return into;
}

interface Block {
  dims: readonly Dimension[];
  from: number;
  to: number;
}

/** Such that each lies within `most` numbers of the file. */
function* blocks(dims: readonly Dimension[], from: number, to: number, most: number): Generator<Block> {
  const [first, ...rest] = dims;
  if (!first || reach(dims) < most) {
    yield { dims, from, to };
    return;
  }
  const some = Math.max(1, Math.floor((most - 1 - reach(rest)) / first.from) + 1);
  for (let i = 0; i < first.size; i += some) {
    const size = Math.min(some, first.size - i);
    const [at, target] = [from + i * first.from, to + i * first.to];
    if (size > 1) yield { dims: [{ ...first, size }, ...rest], from: at, to: target };
    else yield* blocks(rest, at, target, most);
  }
}

/** From the first number to the last one. */
const reach = (dims: readonly Dimension[]): number => dims.reduce((sum, { size, from }) => sum + (size - 1) * from, 0);

/** In words of 4 bytes at most; a number has `count` of them. */
function scatter(part: ArrayBuffer, into: Uint8Array, dims: readonly Dimension[], to: number, width: number): void {
  const words = Math.min(width, 4);
  const count = width / words;
  const View = words === 4 ? Uint32Array : words === 2 ? Uint16Array : Uint8Array;
  const source = new View(part);
  const target = new View(into.buffer as ArrayBuffer, into.byteOffset, into.byteLength / words);
  const last = dims.length - 1;
  const go = (level: number, at: number, place: number): void => {
    if (level > last) {
      for (let k = 0; k < count; ++k) target[place * count + k] = source[at * count + k] as number;
      return;
    }
    const { size, from, to } = dims[level] as Dimension;
    if (level < last || count > 1) for (let i = 0; i < size; ++i) go(level + 1, at + i * from, place + i * to);
    else for (let i = 0; i < size; ++i) target[place + i * to] = source[at + i * from] as number;
  };
  go(0, 0, to);
}
