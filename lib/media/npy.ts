// NumPy's array file: a header that is a Python literal, then the numbers.
import { MediaError } from "./error.js";

export interface Matrix {
  /** Row by row. */
  values: ArrayLike<number>;
  shape: [number, number];
}

export const isNpy = (bytes: Uint8Array): boolean => Buffer.from(bytes.subarray(0, 6)).toString("latin1") === "\x93NUMPY";

const READERS: Readonly<Record<string, [bytes: number, read: (view: DataView, at: number, little: boolean) => number]>> = {
  f4: [4, (view, at, little) => view.getFloat32(at, little)],
  f8: [8, (view, at, little) => view.getFloat64(at, little)],
  i2: [2, (view, at, little) => view.getInt16(at, little)],
  i4: [4, (view, at, little) => view.getInt32(at, little)],
  i8: [8, (view, at, little) => Number(view.getBigInt64(at, little))],
  u8: [8, (view, at, little) => Number(view.getBigUint64(at, little))],
};

/** A matrix of f4, f8, i2, i4 or i8, in C or Fortran order; with `lists` also one row of numbers. */
export function readNpy(bytes: Uint8Array, what: string, lists = false): Matrix {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const bad = (wanted: string, got: string, remedy = "save it again with numpy.save"): MediaError =>
    new MediaError("E_MEDIA_FORMAT", what, wanted, got, remedy);
  const start = bytes[6] === 1 ? 10 : 12;
  if (bytes.length < start) throw bad("an npy header", "a file that ends in it");
  const dataAt = start + (start === 10 ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = Buffer.from(bytes.subarray(start, dataAt)).toString("latin1");
  const descr = /'descr':\s*'([<>|=])([a-z]\d+)'/.exec(header);
  const reader = descr && READERS[descr[2]!];
  if (!reader)
    throw bad("numbers of type f4, f8, i2, i4 or i8", /'descr':[^,]*/.exec(header)?.[0] ?? "no descr", "save array.astype('float32')");
  const shape = (/'shape':\s*\(([\d,\s]*)\)/.exec(header)?.[1] ?? "").split(",").filter((n) => n.trim()).map(Number); // biome-ignore format: one chain
  if (lists && shape.length === 1) shape.unshift(1);
  if (shape.length !== 2) throw bad("a shape of two sizes, rows and columns", `(${shape.join(", ")})`, "reshape it, then save");
  const [rows, columns] = shape as [number, number];
  const [size, read] = reader;
  // Rows without columns would be walked one by one, however many are claimed.
  if (!rows || !columns) throw bad("at least one number", `a shape of (${rows}, ${columns})`, "record it again, or leave it out");
  if (bytes.length - dataAt < rows * columns * size)
    throw bad(`${rows * columns * size} bytes of numbers for (${rows}, ${columns})`, `${Math.max(0, bytes.length - dataAt)}`);
  const fortran = /'fortran_order':\s*True/.test(header);
  const values = new Float64Array(rows * columns);
  const little = descr![1] !== ">";
  for (let i = 0; i < rows; ++i)
    for (let j = 0; j < columns; ++j)
      values[i * columns + j] = read(view, dataAt + size * (fortran ? j * rows + i : i * columns + j), little);
  return { values, shape: [rows, columns] };
}
