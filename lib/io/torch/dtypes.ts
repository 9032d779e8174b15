// The dtypes of PyTorch by their names there, and what safetensors calls them.
import type { FileDType } from "../safetensors-header.js";
import { Word } from "./values.js";

export class TorchDType extends Word {
  constructor(
    name: string,
    readonly bytes: number,
    /** undefined: safetensors has no word for it. */
    readonly stored: FileDType | undefined,
  ) {
    super(`torch.${name}`);
  }
}

/** A typed storage's class. */
export class StorageKind extends Word {
  constructor(
    name: string,
    readonly dtype: TorchDType,
  ) {
    super(name);
  }
}

// biome-ignore format: a table
const TABLE: readonly (readonly [names: readonly string[], bytes: number, stored: FileDType | undefined, storage?: string])[] = [
  [["float32", "float"], 4, "F32", "Float"], [["float64", "double"], 8, "F64", "Double"],
  [["float16", "half"], 2, "F16", "Half"], [["bfloat16"], 2, "BF16", "BFloat16"],
  [["int64", "long"], 8, "I64", "Long"], [["int32", "int"], 4, "I32", "Int"], [["int16", "short"], 2, "I16", "Short"],
  [["int8"], 1, "I8", "Char"], [["uint8"], 1, "U8", "Byte"], [["bool"], 1, "BOOL", "Bool"],
  [["uint16"], 2, "U16"], [["uint32"], 4, "U32"], [["uint64"], 8, "U64"],
  [["float8_e4m3fn"], 1, "F8_E4M3"], [["float8_e5m2"], 1, "F8_E5M2"], [["float8_e8m0fnu"], 1, "F8_E8M0"],
  [["complex64", "cfloat"], 8, undefined, "ComplexFloat"], [["complex128", "cdouble"], 16, undefined, "ComplexDouble"], [["complex32", "chalf"], 4, undefined],
];

export const DTYPES: ReadonlyMap<string, TorchDType> = new Map(
  TABLE.flatMap(([names, bytes, stored]) => {
    const dtype = new TorchDType(names[0] as string, bytes, stored);
    return names.map((name): [string, TorchDType] => [name, dtype]);
  }),
);
const named = (name: string): TorchDType => DTYPES.get(name) as TorchDType;

/** FloatStorage and its kin; one without a type counts bytes. */
export const STORAGES: ReadonlyMap<string, StorageKind> = new Map([
  ...TABLE.flatMap(([names, , , storage]): [string, StorageKind][] =>
    storage ? [[`${storage}Storage`, new StorageKind(`torch.${storage}Storage`, named(names[0] as string))]] : [],
  ),
  ...["UntypedStorage", "_UntypedStorage"].map((name): [string, StorageKind] => [
    name,
    new StorageKind(`torch.storage.${name}`, named("uint8")),
  ]),
]);
