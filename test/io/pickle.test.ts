// Files that look like torch.save's and were made to do harm: refused by what they are, with a code, in bounded time and memory, and nothing is run.
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { TorchFile } from "../../lib/io/torch-file.js";
import * as t from "../../tools/fuzz/torch-files.js";
import { caseFolder, here } from "../case.js";

const test = suite("hostile pickles");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-pickle-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

function file(bytes: Uint8Array): string {
  const path = join(folder, "x.pt");
  writeFileSync(path, bytes);
  return path;
}

/** E_PICKLE that says so, within two seconds of processor time and `mib` of memory beside the file. */
function refused(bytes: Uint8Array, says: RegExp, { mib = 64, use = (_: TorchFile): void => {} } = {}): void {
  const path = file(bytes);
  const [cpu, rss] = [process.cpuUsage(), process.memoryUsage.rss()];
  let error: { code?: string; message: string } | undefined;
  try {
    using opened = new TorchFile(path);
    use(opened);
  } catch (thrown) {
    error = thrown as typeof error;
  }
  const { user, system } = process.cpuUsage(cpu);
  assert.ok(error, "it was taken");
  assert.is(error.code, "E_PICKLE", error.message);
  assert.match(error.message, says);
  assert.ok(error.message.length < 1000, `a message of ${error.message.length} characters`);
  assert.ok(user + system < 2e6, `took ${(user + system) / 1e6} s`);
  const grown = process.memoryUsage.rss() - rss;
  assert.ok(grown < mib * 2 ** 20, `took ${grown / 2 ** 20} MiB`);
}

/** A root in both forms. */
function both(root: unknown, says: RegExp, data: t.Data = {}): void {
  refused(t.zipForm(root, data).bytes, says);
  refused(t.streamForm(root, data).bytes, says);
}
const raw = (...parts: (string | number | Uint8Array)[]) => new t.Raw(t.bytesOf(...parts));
const one = (name = "a", more: Partial<t.Planned> = {}) => t.dictOf([{ name, size: [2], ...more }]);
const eight = { a: new Uint8Array(8) };

test("what would run: refused by its name, whichever operation asks for it", () => {
  const mark = join(folder, "ran");
  const names = [
    "os.system",
    "posix.system",
    "nt.system",
    "builtins.eval",
    "builtins.exec",
    "__builtin__.eval",
    "subprocess.Popen",
    "builtins.getattr",
    "builtins.__import__",
    "torch.load",
    "torch.hub.load",
    "operator.attrgetter",
    "importlib.import_module",
    "runpy.run_path",
    "pickle.loads",
    "torch.jit.load",
    "numpy.load",
    "constructor.constructor",
    "__proto__.toString",
    "torch.constructor",
    "collections.__proto__",
  ];
  for (const full of names) {
    const at = full.lastIndexOf(".");
    const [module, name] = [full.slice(0, at), full.slice(at + 1)] as [string, string];
    const says = new RegExp(`got "${full.replaceAll(".", "\\.")}", which is not on the list.*nothing of it was run`);
    both(new t.Reduce(new t.Global(module, name), `touch ${mark}`), says);
    both(new Map([["w", new t.Reduce(new t.Global(module, name), `touch ${mark}`)]]), says);
  }
  both(raw(`(i${"os"}\nsystem\n.`), /"os\.system"/);
  both(raw("(cos\nsystem\nX\x01\x00\x00\x00ao."), /"os\.system"/);
  both(raw("X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93."), /"os\.system"/);
  both(raw("cos\nsystem\n)\x81."), /"os\.system"/);
  both(raw("cos\nsystem\n)}\x92."), /"os\.system"/);
  both(raw("X\x01\x00\x00\x00aK\x01\x93."), /a name of Python in two texts, got a text and a number/);
  for (const code of [0x82, 0x83, 0x84, 0x97, 0x98, 0xff]) both(raw(code, "\x01\x00\x00\x00."), /an operation of a pickle, got byte 0x/);
  assert.not(existsSync(mark));
});

test("what is on the list is called as it is meant, or not at all", () => {
  const hooks = new t.Reduce(new t.Global("collections", "OrderedDict"));
  both(new t.Reduce("text", 1), /to be called, got a text/);
  both(new t.Reduce(new t.Global("torch", "FloatStorage"), 1), /to be called, got torch\.FloatStorage/);
  both(
    new t.Reduce(
      new t.Global("torch._tensor", "_rebuild_from_type_v2"),
      new t.Global("torch._tensor", "_rebuild_from_type_v2"),
      1,
      new t.Tup(),
      1,
    ),
    /what makes a tensor/,
  );
  both(
    new t.Reduce(new t.Global("torch._utils", "_rebuild_tensor_v2"), 1, 0, new t.Tup(), new t.Tup(), false, hooks),
    /a storage under a tensor, got a number/,
  );
  both(new t.Reduce(new t.Global("torch._utils", "_rebuild_parameter"), 1), /a tensor as a parameter, got a number/);
  both(new t.Reduce(new t.Global("collections", "OrderedDict"), [1]), /keys and values in pairs/);
  both(raw("cos\n", "a".repeat(70000), "\n."), /lines of at most 65536 bytes/);
  both(raw("c\u001b]0;x\u0007\n", new TextEncoder().encode("\u202e\u009b"), "\n."), /got "\\u001b\]0;x\\u0007\.\\u202e\\u009b"/);
  both(raw("N}b."), /an object that has a state, got None/);
});

test("tensors beyond their storage, storages beyond the file, and numbers that are none", () => {
  const lies: [Partial<t.Planned>, RegExp][] = [
    [{ size: [3] }, /inside of its storage of 2 numbers, got one that ends behind number 2/],
    [{ first: 1 }, /inside of its storage/],
    [{ size: [2, 2], stride: [2, 1] }, /inside of its storage/],
    [{ size: [2], stride: [2 ** 52] }, /inside of its storage/],
    [{ size: [2n ** 62n, 4] }, /a tensor's sizes that is an integer of at least 0|inside of its storage/],
    [{ size: [2 ** 40], stride: [0] }, /at most 16777216 numbers that repeat others/],
    [{ size: [2 ** 30, 2 ** 30], stride: [0, 0] }, /at most 16777216 numbers that repeat others/],
    [{ size: [-1] }, /an integer of at least 0, got -1/],
    [{ size: [2], stride: [-1] }, /an integer of at least 0, got -1/],
    [{ first: -1 }, /an integer of at least 0, got -1/],
    [{ size: [2, 1], stride: [1] }, /as many sizes as steps, got 2 and 1/],
    [{ size: Array(65).fill(1) }, /at most 64 of a tensor's sizes/],
  ];
  for (const [lie, says] of lies) both(one("a", { numel: 2, ...lie }), says, eight);
  refused(t.zipForm(one("a", { numel: 3, size: [3] }), eight).bytes, /12 bytes in "x\/data\/a", got 8/);
  refused(t.zipForm(one("a", { numel: 2 ** 40, size: [2 ** 40] }), eight).bytes, /4398046511104 bytes in "x\/data\/a", got 8/);
  refused(t.zipForm(one("a", { numel: 2n ** 53n - 1n }), eight).bytes, /a storage that a file can hold/);
  refused(t.zipForm(one("b"), eight).bytes, /the storage "b" in the archive, got none/);
  refused(t.zipForm(one("../data.pkl"), eight).bytes, /the storage "\.\.\/data\.pkl" in the archive, got none/);
  refused(t.streamForm(one("a", { numel: 3, size: [3] }), eight).bytes, /3 numbers in the storage "a", got 2/);
  refused(t.streamForm(one("b"), eight).bytes, /each storage once, got "a"/);
  refused(t.streamForm(one(), {}).bytes, /the storage "a" in the file, got none/);
  const long = t.streamForm(one("a", { numel: 2 ** 40, size: [2] }), eight);
  new DataView(long.bytes.buffer).setBigInt64(long.fields[0]!.at, 2n ** 40n, true);
  refused(long.bytes, /4398046511104 bytes of the storage "a"/);
  const differs = new Map([
    ["a", t.tensor({ name: "a", size: [2] })],
    ["b", t.tensor({ name: "b", key: "a", numel: 1, size: [1] })],
  ]);
  both(differs, /a storage to be told of in one way/, eight);
  refused(
    t.streamForm(t.dictOf([{ name: "a", size: [2] }], new t.Tup("v", 1, 2)), eight).bytes,
    /a view inside of a storage of 2 numbers, got one that ends at 3/,
  );
  refused(t.tarForm(new Uint8Array(8), [{ name: "a", size: [3] }]), /inside of its storage/);
  refused(
    t.tarFile([
      { name: "storages", data: t.pickled(2 ** 30) },
      { name: "tensors", data: t.pickled(0) },
      { name: "pickle", data: t.pickled(1) },
    ]),
    /more bytes at|where the pickle ends/,
  );
  refused(t.tarFile([{ name: "storages", data: new Uint8Array(4), bytes: 2 ** 32 }]), /"storages" of 4294967296 bytes inside of the file/);
  refused(t.tarFile([{ name: "pickle", data: t.pickled(1) }]), /"storages" in the archive, got none/);
});

test("the machine: stacks, marks and memories that are not there, containers that are others", () => {
  for (const [program, says] of [
    [".", /1 more values/],
    ["0.", /1 more values/],
    ["(K\x01", /every mark to be used/],
    ["(N.", /every mark to be used/],
    ["K\x01(0.", /1 more values/],
    ["t.", /a mark, got none/],
    ["K\x01K\x02a.", /a list to append to, got a number/],
    ["](N(e.", /a list to append to, got None|1 more values/],
    ["NK\x01K\x02s.", /a dict to put items into, got None/],
    ["}(K\x01u.", /keys and values in pairs, got 1/],
    ["(K\x01d.", /keys and values in pairs, got 1/],
    ["]((e.", /1 more values|every mark/],
    ["](K\x01\x90.", /a set to add to, got a list/],
    ["h\x00.", /number 0, which was not/],
    ["j\xff\xff\xff\xff.", /number 4294967295, which was not/],
    ["g12345678901\n.", /the number of a remembered value/],
    ["Iabc\n.", /an integer, got "abc"/],
    ["F1e\n.", /a number, got "1e"/],
    ["Sabc\n.", /a text in quotes, got "abc"/],
    ["X\xff\xff\xff\x7fabc.", /2147483647 more bytes/],
    ["\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.", /18446744073709552000 more bytes/],
    ["\x8b\xff\xff\xff\x7f.", /2147483647 more bytes/],
    ["\x95\xff\xff\xff\xff\xff\xff\xff\x7f.", /more bytes/],
    ["X\x01\x00\x00\x00\xff.", /text in UTF-8/],
    ["\x80\x06N.", /protocol 5 at most, got protocol 6/],
    ["Pabc\n.", /the id of a storage|no storage here/],
    ["NQ.", /the id of a storage, got None/],
    ["cos\n", /where the pickle ends/],
  ] as const)
    both(raw(program), says);
  both(raw(0x8b, t.little(5000, 4), new Uint8Array(5000), "."), /integers of at most 1024 bytes/);
  both(raw("L", "9".repeat(60000), "L\n."), /an integer/);
});

test("a million nested containers, and counts that a few bytes of a file ask for", () => {
  const million = 1e6;
  const repeated = (text: string, times: number) => new t.Raw(Buffer.from(text.repeat(times), "latin1"));
  both(new t.Raw(t.bytesOf(repeated("]", million).bytes, repeated("a", million - 1).bytes, ".")), /at most 262144 values that wait/);
  both(new t.Raw(t.bytesOf(repeated("(", million).bytes, "t.")), /containers at most 16384 deep/);
  refused(t.zipForm(raw(repeated(")\x85", million).bytes, "."), {}).bytes, /at most 262144 values that wait/);
  const nested = t.bytesOf(")", repeated("\x85", million).bytes); // tuples in tuples: data, of which nobody reads anything
  refused(t.zipForm(new Map([["x", new t.Raw(nested)]]), {}).bytes, /a dict that holds tensors by name, got none/, { mib: 256 });
  refused(t.zipForm(raw(")", repeated("\x85", 3 * million).bytes, "."), {}).bytes, /at most 8388608 values/, { mib: 512 });
  // ten lists of ten lists of ten …
  const laughs = t.bytesOf(
    "]",
    ...Array.from({ length: 40 }, (_, i) => t.bytesOf("q", i, "](", ...Array(10).fill(t.bytesOf("h", i)), "e")),
  );
  refused(t.zipForm(new Map([["x", new t.Raw(laughs)]]), {}).bytes, /got none|values/);
  const dicts = t.bytesOf(
    "}q\x00",
    ...Array.from({ length: 40 }, (_, i) =>
      t.bytesOf("0}q", i + 1, "(", ...Array.from({ length: 10 }, (_, k) => t.bytesOf("X\x01\x00\x00\x00", 97 + k, "h", i)), "u"),
    ),
  );
  refused(t.zipForm(raw(dicts, "."), {}).bytes, /got none/);
  // a copy of a large set, again and again
  const copies = repeated("cbuiltins\nset\nh\x00\x85R", 20000).bytes;
  refused(t.zipForm(raw("](", repeated("K\x01", 100000).bytes, "eq\x00", copies, "."), {}).bytes, /at most 8388608 values/, { mib: 256 });
  const texts = repeated("c_codecs\nencode\nh\x00\x85R", 5000).bytes;
  refused(
    t.zipForm(raw("X", t.little(2 ** 20, 4), new Uint8Array(2 ** 20).fill(97), "q\x00", texts, "."), {}).bytes,
    /at most 8388608 values/,
    { mib: 1024 },
  );
});

test("containers that hold themselves are data as any other", () => {
  const self = t.bytesOf("}q\x00(X\x04\x00\x00\x00selfh\x00X\x04\x00\x00\x00list]q\x01h\x01aX\x01\x00\x00\x00a");
  const held = raw(self, t.pickled(t.tensor({ name: "a", size: [2] })).subarray(2, -1), "u");
  using opened = new TorchFile(file(t.zipForm(held, eight).bytes));
  assert.equal([...opened.names()], ["a"]);
  refused(t.zipForm(held, eight).bytes, /one that holds itself/, { use: (file) => void new TorchFile(file.path, { key: "self" }).close() });
});

test("archives: compressed members, bombs, paths, names that come twice, members that overlap, a wrong checksum", () => {
  const pickle = t.pickled(one());
  const good: t.Entry[] = [
    { name: "x/data.pkl", data: pickle },
    { name: "x/data/a", data: new Uint8Array(8) },
  ];
  new TorchFile(file(t.zipFile(good).bytes)).close();
  const zip = (...entries: t.Entry[]) => t.zipFile(entries).bytes;
  const bomb = deflateRawSync(new Uint8Array(2 ** 26));
  refused(
    zip({ name: "x/data.pkl", data: deflateRawSync(pickle), method: 8, bytes: pickle.length }, good[1]!),
    /"x\/data\.pkl" as torch\.save stores it, got a compressed one/,
  );
  refused(
    zip(good[0]!, { name: "x/data/a", data: bomb, method: 8, bytes: 2 ** 26 }),
    /"x\/data\/a" as torch\.save stores it, got a compressed one/,
  );
  refused(zip({ ...good[0]!, flags: 0x801 }, good[1]!), /got an encrypted one/);
  for (const name of ["../../etc/passwd", "/etc/passwd", "x/../../y", "C:/x", "x\\y", "x\0y", ".."])
    refused(zip(...good, { name, data: new Uint8Array(1) }), /names inside of the archive/);
  refused(zip(...good, good[1]!), /every name once, got "x\/data\/a" twice/);
  refused(zip(...good, { name: "y/data.pkl", data: pickle }), /with one data\.pkl, as torch\.save writes it, got 2/);
  refused(zip(good[1]!), /with one data\.pkl, as torch\.save writes it, got none/);
  refused(zip(good[0]!, { ...good[1]!, header: 0 }), /to end before|where the directory says|at 0/);
  refused(zip(good[0]!, { ...good[1]!, bytes: 2 ** 30 }), /to end before/);
  refused(zip({ ...good[0]!, header: 2 ** 31 }, good[1]!), /to end before|inside of the file/);
  refused(zip({ ...good[0]!, crc: 1 }, good[1]!), /with the checksum of the directory, got another one; the file was cut/);
  new TorchFile(file(zip({ ...good[0]!, crc: 0 }, good[1]!))).close(); // torch.serialization.set_crc32_options(False)
  refused(zip(...good, { name: "x/byteorder", data: new TextEncoder().encode("big") }), /the lowest byte first/);
  new TorchFile(file(zip(...good, { name: "x/byteorder", data: new TextEncoder().encode("little") }))).close();
  const many = t.zipFile(good);
  for (const [offset, width, value, says] of [
    [10, 2, 0xffff, /at most \d members in a directory of \d+ bytes, got 65535/],
    [10, 2, 3, /3 members in|at most 2 members in/],
    [12, 4, 0x7fffffff, /a directory/],
    [16, 4, 0xfffffffe, /a directory inside of the file/],
    [16, 4, 0, /2 members in the directory, got 0/],
    [4, 2, 1, /an archive of one file/],
  ] as const) {
    const bytes = many.bytes.slice();
    bytes.set(t.little(value, width), bytes.length - 22 + offset);
    refused(bytes, says);
  }
  assert.is(crc32("abc"), 0x352441c2); // the polynomial of zip
});

test("files cut anywhere", () => {
  const { bytes } = t.zipForm(one(), eight);
  for (const [name, whole] of [
    ["zip", bytes],
    ["stream", t.streamForm(one(), eight).bytes],
    ["tar", t.tarForm(new Uint8Array(8), [{ name: "a", size: [2] }])],
  ] as const) {
    const path = file(whole);
    new TorchFile(path).close();
    const least = name === "tar" ? whole.length - 1024 - 512 : whole.length; // zeros at the end say nothing
    for (let length = least - 1; length >= 0; --length) {
      truncateSync(path, length);
      assert.throws(
        () => new TorchFile(path).close(),
        (e: { code?: string }) => e.code === "E_PICKLE",
        `${name} of ${length} bytes`,
      );
    }
  }
});

test("files of torch, cut anywhere and with a byte changed: an error of this library, or numbers", () => {
  for (const name of ["zip", "stream", "tar", "training"]) {
    const whole = readFileSync(join(caseFolder("torch-files"), `${name}.pt`));
    const attempt = (bytes: Uint8Array) => {
      try {
        using opened = new TorchFile(file(bytes));
        for (const one of opened.names()) opened.load(one, here).dispose();
      } catch (error) {
        const { code, stack } = error as { code?: string; stack?: string };
        assert.ok(code === "E_PICKLE" || (code === "E_FILE" && !bytes.length), stack ?? "");
      }
    };
    for (let length = 0; length < whole.length; length += 61) attempt(whole.subarray(0, length));
    for (let i = 0; i < whole.length; i += 53) {
      const bytes = Uint8Array.from(whole);
      bytes[i]! ^= 1 << (i % 8);
      attempt(bytes);
    }
  }
});

test("what is no file of torch.save, and what is no file", () => {
  refused(new Uint8Array(), /a file that torch\.save wrote/);
  refused(t.bytesOf("GGUF\x03\x00\x00\x00"), /a file that torch\.save wrote, got another one/);
  refused(t.pickled(new Map([["a", 1]])), /the magic number of torch\.save, got another pickle/);
  refused(Buffer.concat([t.pickled(0x1950a86a20f9469cfc6cn), t.pickled(1000)]), /version 1001 of the form, got 1000/);
  assert.throws(
    () => new TorchFile(folder),
    (e: { code?: string }) => e.code === "E_FILE",
  );
  assert.throws(
    () => new TorchFile(join(folder, "no")),
    (e: { code?: string }) => e.code === "E_FILE",
  );
});

test.run();
