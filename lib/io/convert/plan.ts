// What each tensor of a file of torch.save becomes: its new name, the part of it that is meant, and the order of its rows.
import { type KeyTable, type Numbers, type Rule, wrapping } from "../key-tables/index.js";
import type { PiecedTensor } from "../safetensors.js";
import type { FileDType } from "../safetensors-header.js";
import { PickleError, quoted } from "../torch/error.js";
import type { StoredTensor } from "../torch/tensor.js";
import type { TorchFile } from "../torch-file.js";

export interface PlannedTensor extends PiecedTensor {
  /** Two tensors that are one in the file have the same; undefined of what was put together. */
  readonly identity: string | undefined;
}

interface Part {
  readonly file: TorchFile;
  readonly tensor: StoredTensor;
  /** As it is written: the same numbers in the same order, of fewer dimensions. */
  readonly shape: readonly number[];
}

/** Every tensor by its new name. Throws E_PICKLE where the files do not fit each other or the table. */
export function planned(
  files: readonly TorchFile[],
  table: KeyTable | undefined,
  numbers: Numbers | undefined,
): { tensors: Map<string, PlannedTensor>; left: string[] } {
  const tensors = new Map<string, PlannedTensor>();
  const left: string[] = [];
  const put = (name: string, tensor: PlannedTensor, path: string) => {
    const known = tensors.get(name);
    if (known?.identity !== undefined && known.identity === tensor.identity) return; // one tensor under two names
    if (known) throw new PickleError(path, "every name once", `${quoted(name)} twice`, "--table none keeps the file's own names");
    tensors.set(name, tensor);
  };
  for (const [name, parts] of partsByName(files, table)) {
    const { path } = (parts[0] as Part).file;
    const { rule, targets } = renamed(name, table);
    if (!targets) {
      left.push(name);
      continue;
    }
    const turned = parts.map((part) => (rule?.turned && numbers ? inHalves(part, rule.turned, numbers, parts.length, name) : part));
    for (const [i, target] of targets.entries()) {
      const some = turned.map((part) => (targets.length > 1 ? share(part, i, targets.length, name) : part));
      put(target, joined(some, rule, numbers, name), path);
    }
  }
  return { tensors, left };
}

/** A name that several files have is a part of one tensor where the table says so, and a contradiction where there is no table. */
function partsByName(files: readonly TorchFile[], table: KeyTable | undefined): Map<string, Part[]> {
  const all = new Map<string, Part[]>();
  for (const file of files) {
    const names = [...file.names()];
    const prefix = wrapping(names);
    for (const name of names) {
      const short = name.slice(prefix.length);
      const parts = all.get(short) ?? [];
      if (parts.length && !table)
        throw new PickleError(file.path, "every name in one file", `${quoted(short)} in two`, "convert the files one by one");
      const tensor = file.tensor(name);
      parts.push({ file, tensor, shape: tensor.shape });
      all.set(short, parts);
    }
  }
  return all;
}

function renamed(name: string, table: KeyTable | undefined): { rule?: Rule; targets: string[] | undefined } {
  const rule = table?.rules.find(({ from }) => from.test(name));
  if (!rule) return { targets: [name] };
  if (rule.to === null) return { rule, targets: undefined };
  return { rule, targets: [rule.to].flat().map((to) => name.replace(rule.from, to)) };
}

/** One of several that share the rows evenly. */
function share({ file, tensor }: Part, i: number, count: number, name: string): Part {
  const rows = tensor.shape[0] ?? 0;
  if (rows % count) throw new PickleError(file.path, `${quoted(name)} of rows for ${count} weights`, `[${tensor.shape}]`, NO_TABLE);
  const some = tensor.narrow(0, (i * rows) / count, rows / count);
  return { file, tensor: some, shape: some.shape };
}

/**
 * Meta's code turns numbers 2i and 2i + 1 of a head by one angle, Hugging Face's numbers i and i + d/2: the rows of q and k are those of the other
 * order, and the numbers of what is added to them.
 */
function inHalves({ file, tensor }: Part, which: "heads" | "kvHeads", numbers: Numbers, parts: number, name: string): Part {
  const heads = numbers[which] / parts;
  const [rows = 0, ...columns] = tensor.shape;
  if (!Number.isInteger(heads) || ![0, 1].includes(columns.length) || !rows || rows % (2 * heads))
    throw new PickleError(file.path, `${quoted(name)} of ${numbers[which]} heads in ${parts} files`, `[${tensor.shape}]`, NO_TABLE);
  const inPairs = tensor.divided(0, [heads, rows / heads / 2, 2]);
  if (rows * parts !== (numbers.width / numbers.heads) * numbers[which])
    throw new PickleError(
      file.path,
      `${quoted(name)} of ${numbers[which]} heads of ${numbers.width / numbers.heads} rows`,
      `${rows * parts} rows in ${parts} files`,
      "a part of the model is missing: fetch every consolidated.*.pth",
    );
  return { file, tensor: inPairs.permuted([0, 2, 1, ...columns.map(() => 3)]), shape: [rows, ...columns] };
}
const NO_TABLE = "the weights are of another model than the key table is for: --table none keeps their own names";

function joined(parts: readonly Part[], rule: Rule | undefined, numbers: Numbers | undefined, name: string): PlannedTensor {
  const [first] = parts as [Part];
  const { file, tensor, shape: own } = first;
  const dtype = dtypeOf(first, name);
  if (parts.length === 1 || rule?.along === undefined)
    return { dtype, shape: own, identity: `${file.path} ${tensor.identity}`, pieces: () => file.pieces(tensor) };
  const shapes = parts.map(({ shape }) => shape);
  const along = rule.along === "not width" ? (shapes[0]?.[1] === numbers?.width ? 0 : 1) : rule.along;
  const fits = parts.every(
    (part, i) => dtypeOf(part, name) === dtype && shapes[i]?.length === 2 && shapes[i]?.[1 - along] === shapes[0]?.[1 - along],
  );
  if (!fits)
    throw new PickleError(
      file.path,
      `parts of ${quoted(name)} that fit each other`,
      shapes.map((shape) => `[${shape}]`).join(" and "),
      NO_TABLE,
    );
  const sizes = shapes.map((shape) => shape[along] as number);
  const size = sizes.reduce((a, b) => a + b, 0);
  const shape = along === 0 ? [size, shapes[0]?.[1] as number] : [shapes[0]?.[0] as number, size];
  return { dtype, shape, identity: undefined, pieces: () => (along === 0 ? oneBehindTheOther(parts) : sideBySide(parts)) };
}

function* oneBehindTheOther(parts: readonly Part[]): Generator<Uint8Array> {
  for (const { file, tensor } of parts) yield* file.pieces(tensor);
}

/** A part of the columns from each file, some rows at a time. */
const SIDE_BY_SIDE = 2 ** 24;
function* sideBySide(parts: readonly Part[]): Generator<Uint8Array> {
  const rows = parts[0]?.tensor.shape[0] as number;
  const widths = parts.map(({ tensor }) => (tensor.shape[1] as number) * tensor.dtype.bytes);
  const width = widths.reduce((a, b) => a + b, 0);
  const some = Math.max(1, Math.floor(SIDE_BY_SIDE / Math.max(1, width)));
  for (let from = 0; from < rows; from += some) {
    const count = Math.min(some, rows - from);
    const block = new Uint8Array(count * width);
    let column = 0;
    for (const [i, { file, tensor }] of parts.entries()) {
      const wide = widths[i] as number;
      let at = 0;
      for (const piece of file.pieces(tensor.narrow(0, from, count)))
        for (let taken = 0; taken < piece.length; ) {
          const [row, within] = [Math.floor(at / wide), at % wide];
          const length = Math.min(wide - within, piece.length - taken);
          block.set(piece.subarray(taken, taken + length), row * width + column + within);
          taken += length;
          at += length;
        }
      column += wide;
    }
    yield block;
  }
}

function dtypeOf({ file, tensor }: Part, name: string): FileDType {
  if (tensor.dtype.stored) return tensor.dtype.stored;
  throw new PickleError(file.path, `${quoted(name)} in a dtype that safetensors has`, tensor.dtype.name, "save it in another one");
}
