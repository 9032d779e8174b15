// lib/io/torch-file.ts: files of torch.save in all three forms, pickles that lie about their storages, and pickles of random operations.
import { defaultDevice } from "../../../lib/core/device.js";
import { TorchFile } from "../../../lib/io/torch-file.js";
import type { Random } from "../random.js";
import { HOSTILE, type Seed, type Target } from "../target.js";
import { bytesOf, type Data, dictOf, Global, type Planned, Raw, Reduce, streamForm, Tup, tarForm, zipForm } from "../torch-files.js";

const KINDS = ["Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Byte", "Bool"];
const DATA: Data = { a: new Uint8Array(96).map((_, i) => i), b: new Uint8Array(32) };
const GOOD: readonly Planned[] = [
  { name: "w", key: "a", size: [2, 3], numel: 24 },
  { name: "view", key: "a", size: [2, 2], stride: [1, 6], first: 3, numel: 24 },
  { name: "half", key: "b", kind: "Half", size: [4], numel: 16 },
];
/** Names of Python: on the list, and what an attacker would try. */
const NAMES: readonly (readonly [string, string])[] = [
  ["torch", "FloatStorage"],
  ["torch._utils", "_rebuild_tensor_v2"],
  ["torch._utils", "_rebuild_parameter"],
  ["torch._tensor", "_rebuild_from_type_v2"],
  ["collections", "OrderedDict"],
  ["collections", "defaultdict"],
  ["builtins", "set"],
  ["builtins", "eval"],
  ["posix", "system"],
  ["numpy.core.multiarray", "scalar"],
  ["_codecs", "encode"],
  ["__torch__.Net", "forward"],
  ["torch", "Size"],
];
/** Operations without and with an argument of a byte. */
const PLAIN = "(012N\x88\x89)\x85\x86\x87t]lae}dsu\x8f\x90\x91R\x81bQ\x93\x94o";
const OF_A_BYTE = "KhqU\x8c";

function operations(random: Random): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let n = 1 + random.below(24); n > 0; --n) {
    const [module, name] = random.pick(NAMES);
    const made: (() => Uint8Array)[] = [
      () => bytesOf(random.pick([...PLAIN])),
      () => bytesOf(random.pick([..."Khq"]), random.below(6)),
      () => bytesOf(random.pick([..."U\x8cC"]), 2, "ab"),
      () => bytesOf(`c${module}\n${name}\n`),
      () => bytesOf(random.pick([...OF_A_BYTE]), random.below(256)),
    ];
    parts.push(random.pick(made)());
  }
  return bytesOf(...parts);
}

function build(random: Random): Uint8Array {
  const number = () => (random.chance(0.15) ? random.pick([...HOSTILE, -1n]) : random.below(7));
  const tensors = Array.from({ length: random.below(4) }, (_, i): Planned => {
    const size = Array.from({ length: random.below(4) }, number);
    const lies = random.chance(0.5);
    return {
      name: random.chance(0.1) ? random.pick(["__proto__", "constructor", "", "a.b", "w0"]) : `w${i}`,
      key: random.pick(["a", "b"]),
      kind: random.pick(KINDS),
      size,
      ...(lies && { first: number(), numel: random.chance(0.5) ? number() : 8, stride: size.map(number) }),
    };
  });
  let root: unknown = dictOf(tensors, random.chance(0.1) ? new Tup("v", number(), number()) : undefined);
  if (random.chance(0.3)) (root as Map<string, unknown>).set("more", new Raw(operations(random)));
  if (random.chance(0.1)) root = new Map([["state_dict", root]]);
  if (random.chance(0.05)) root = new Reduce(new Global(...random.pick(NAMES)), root);
  if (random.chance(0.1)) return tarForm(DATA.a as Uint8Array, tensors);
  return random.chance(0.3) ? streamForm(root, DATA).bytes : zipForm(root, DATA).bytes;
}

const tar = (): Seed => ({ bytes: tarForm(DATA.a as Uint8Array, [{ name: "w", size: [2, 3] }]), fields: [] });

export const pickle: Target = {
  name: "pickle",
  seeds: [zipForm(dictOf(GOOD), DATA), streamForm(dictOf(GOOD), DATA, { b: 2 }), tar()],
  build,
  async run(_bytes, path) {
    using file = new TorchFile(path);
    for (const name of file.names()) {
      const tensor = file.tensor(name);
      for (const piece of file.pieces(tensor)) if (!piece.length) throw new Error("an empty piece");
      if (!tensor.dtype.stored) continue;
      file.loadBytes(name, defaultDevice()).dispose();
    }
    for (const _ of file.checked());
  },
};
