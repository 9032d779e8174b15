// The list of what is read: every name of Python that may stand in a file of torch.save, and what it becomes here. All else is refused by its name.
import { DTYPES, STORAGES } from "./dtypes.js";
import { quoted } from "./error.js";
import type { Fail } from "./literals.js";
import { StoredTensor, storedTensor } from "./tensor.js";
import { Callable, Dict, Inert, kindOf, PickledSet, Tuple, type Value, Word } from "./values.js";

type Args = readonly Value[];
type Make = (args: Args, fail: Fail) => Value;

/** Modules that Python 2, or another version of a package, called otherwise. */
const MODULES: Readonly<Record<string, string>> = {
  __builtin__: "builtins",
  copy_reg: "copyreg",
  "numpy._core.multiarray": "numpy.core.multiarray",
  "torch.nn.parameter": "torch.nn",
  "torch.cuda": "torch",
  "torch.storage": "torch",
};

const tensor: Make = (args, fail) => {
  const [storage, first, size, stride, , , third, fourth] = args;
  const dtype = third instanceof Word ? third : undefined; // _rebuild_tensor_v3 has it
  plain(dtype ? fourth : third, fail);
  return storedTensor(fail, storage, { first, size, stride, dtype });
};

/** A view that conjugates or negates on reading. */
function plain(metadata: Value, fail: Fail): void {
  if (metadata instanceof Dict)
    for (const [key, on] of metadata.map)
      if (on === true) fail("a tensor whose numbers are stored as they are", typeof key === "string" ? quoted(key) : kindOf(key));
}

const sameTensor: Make = ([data], fail) => (data instanceof StoredTensor ? data : fail("a tensor as a parameter", kindOf(data)));

/** A tensor with attributes, or of a subclass, which are left away. */
const ofType: Make = ([make, , args], fail) => {
  if (!(make instanceof Callable) || !make.name.startsWith("torch._utils._rebuild_") || !(args instanceof Tuple))
    return fail("what makes a tensor", kindOf(make));
  return make.call(args.items);
};

const dict: Make = ([pairs], fail) => {
  const made = new Dict();
  if (pairs instanceof Dict) for (const [key, value] of pairs.map) made.map.set(key, value);
  else if (Array.isArray(pairs))
    for (const pair of pairs) {
      const [key, value] = pair instanceof Tuple ? pair.items : Array.isArray(pair) ? pair : fail("keys and values in pairs", kindOf(pair));
      made.map.set(key, value);
    }
  return made;
};

const list = (items: Value): readonly Value[] =>
  items instanceof Tuple || items instanceof PickledSet ? items.items : Array.isArray(items) ? items : [];
const set: Make = ([items]) => {
  const made = new PickledSet();
  for (const item of list(items)) made.items.push(item);
  return made;
};

/** What protocol 2 writes for bytes: a text of their values. */
const bytes: Make = ([from], fail) => {
  if (from === undefined) return new Uint8Array();
  if (typeof from === "string") return Uint8Array.from(Buffer.from(from, "latin1"));
  if (Array.isArray(from) && from.every((n) => typeof n === "number")) return Uint8Array.from(from);
  return from instanceof Uint8Array ? from : fail("bytes", kindOf(from));
};

// biome-ignore format: a table
const MAKERS: Readonly<Record<string, Make>> = {
  "torch._utils._rebuild_tensor": tensor, "torch._utils._rebuild_tensor_v2": tensor, "torch._utils._rebuild_tensor_v3": tensor,
  "torch._utils._rebuild_parameter": sameTensor, "torch._utils._rebuild_parameter_with_state": sameTensor, "torch.nn.Parameter": sameTensor,
  "torch._tensor._rebuild_from_type_v2": ofType,
  "torch.Size": ([sizes]) => new Tuple(list(sizes)),
  "collections.OrderedDict": dict, "builtins.dict": dict, "collections.Counter": dict,
  "collections.defaultdict": () => new Dict(),
  "pytorch_lightning.utilities.parsing.AttributeDict": dict, "lightning_fabric.utilities.data.AttributeDict": dict, "lightning.fabric.utilities.data.AttributeDict": dict,
  "builtins.set": set, "builtins.frozenset": set, "builtins.list": ([items]) => [...list(items)], "builtins.tuple": ([items]) => new Tuple(list(items)),
  "builtins.bytes": bytes, "builtins.bytearray": bytes, "_codecs.encode": bytes,
  // TorchScript's archives hold the same tensors; the code that lies beside them is not looked at.
  ...Object.fromEntries(["build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag"].map((name) => [`torch.jit._pickle.${name}`, ([value]: Args) => value])),
};

/** Plain data that training scripts keep beside the weights: a name and what was put in, of which nothing is used. */
// biome-ignore format: a table
const INERT: ReadonlySet<string> = new Set([
  "argparse.Namespace", "types.SimpleNamespace", "copyreg._reconstructor", "builtins.complex", "builtins.slice", "builtins.range",
  "torch.device", "torch.serialization._get_layout", "torch.Generator",
  "numpy.dtype", "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct",
  "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath", "datetime.datetime", "datetime.date", "datetime.timedelta",
]);

/** Names that stand for themselves. */
// biome-ignore format: a table
const WORDS: ReadonlySet<string> = new Set([
  "builtins.object", "builtins.int", "builtins.float", "builtins.str", "builtins.bool", "torch.Tensor", "torch.strided",
  "torch.contiguous_format", "torch.channels_last", "torch.preserve_format",
  ...["Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool"].map((type) => `torch.${type}Tensor`),
]);

/** An object of TorchScript: its state is a dict of what the module holds. */
export const SCRIPTED = "__torch__.";

/** The list for one file. */
export function allowed(fail: Fail): (module: string, name: string) => Value {
  const made = new Map<string, Value>();
  return (module, name) => {
    const full = `${Object.hasOwn(MODULES, module) ? MODULES[module] : module}.${name}`;
    if (!made.has(full)) made.set(full, find(full, fail));
    return made.get(full);
  };
}

function find(full: string, fail: Fail): Value {
  if (full.startsWith("torch.") && !full.includes(".", 6)) {
    const own = DTYPES.get(full.slice(6)) ?? STORAGES.get(full.slice(6));
    if (own) return own;
  }
  if (Object.hasOwn(MAKERS, full)) return new Callable(full, (args) => (MAKERS[full] as Make)(args, fail));
  if (INERT.has(full) || full.startsWith(SCRIPTED)) return new Callable(full, (args) => new Inert(full, args));
  return WORDS.has(full) ? new Word(full) : undefined;
}
