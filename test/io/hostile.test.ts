// Model folders and tokenizers made to do harm: a typed error, in bounded memory and time. What a safetensors header may claim is in
// safetensors.test.ts, a config.json in models/auto-causal-lm.test.ts, pictures in media/image.test.ts, mutated files in fuzz.test.ts.
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deflateSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { AnymalError, AutoModelForCausalLM, image, loadImage } from "../../lib/index.js";
import { Checkpoint } from "../../lib/io/checkpoint.js";
import { encodeHeader } from "../../lib/io/safetensors-header.js";
import { imu, loadImu } from "../../lib/media/imu.js";
import { SentencePiece } from "../../lib/text/sentencepiece.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { caseFolder, copyFolder, here } from "../case.js";

const test = suite("hostile files");
let folder = "";
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-hostile-"));
});
test.after.each(() => rmSync(folder, { recursive: true, force: true }));

/** Rejects with that code, in two seconds of processor time and 64 MiB beside what the header itself takes. */
async function refused(run: () => unknown, code: string, says: RegExp, mib = 64): Promise<void> {
  const [cpuTime, rss] = [process.cpuUsage(), process.memoryUsage.rss()];
  let error: unknown;
  try {
    await run();
  } catch (thrown) {
    error = thrown;
  }
  const { user, system } = process.cpuUsage(cpuTime);
  assert.ok(error, "it was taken");
  const { code: got, message } = error as AnymalError;
  assert.is(got, code, message);
  assert.match(message, says);
  assert.ok(message.length < 2000, `a message of ${message.length} characters`);
  assert.ok(user + system < 2e6, `took ${(user + system) / 1e6} s`);
  const grown = process.memoryUsage.rss() - rss;
  assert.ok(grown < mib * 2 ** 20, `took ${grown / 2 ** 20} MiB`);
}

const write = (name: string, ...parts: (string | Uint8Array)[]): string => {
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat(parts.map((part) => Buffer.from(part as string))));
  return path;
};
const prefix = (length: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(length).buffer);
const tensorFile = (name: string): Uint8Array => Buffer.concat([encodeHeader([[name, { dtype: "F32", shape: [1] }]]), new Uint8Array(4)]);
const index = (map: unknown, at = folder) => writeFileSync(join(at, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));

test("shards that were cut, anywhere", async () => {
  const whole = join(caseFolder("llama2"), "sharded");
  const shard = readdirSync(whole).find((name) => name.endsWith(".safetensors")) as string;
  const size = readFileSync(join(whole, shard)).length;
  copyFolder(caseFolder("llama2"), folder, (from) => !from.endsWith("model.safetensors"));
  for (const name of readdirSync(whole)) if (name.includes("safetensors")) copyFileSync(join(whole, name), join(folder, name));
  const before = here.memory().tensors;
  for (const length of [0, 7, 8, 100, size >> 1, size - 1]) {
    copyFileSync(join(whole, shard), join(folder, shard));
    truncateSync(join(folder, shard), length);
    await refused(() => AutoModelForCausalLM.fromPretrained(folder, { device: here }), "E_SAFETENSORS", /expected .*, got /);
  }
  assert.is(here.memory().tensors, before);
});

test("headers of 2^63 bytes, of zeros, of brackets, and of names without end", async () => {
  const open = (...parts: (string | Uint8Array)[]) => {
    const path = write("model.safetensors", ...parts);
    return () => Checkpoint.open(path).close();
  };
  await refused(open(prefix(2n ** 63n), "{}"), "E_SAFETENSORS", /at most 100000000 bytes/);
  const long = (json: string) => open(prefix(BigInt(json.length)), json);
  await refused(long("\0".repeat(2 ** 22)), "E_SAFETENSORS", /starts with "\{"/);
  await refused(long(`${"{".repeat(8)}${"[".repeat(2 ** 20)}`), "E_SAFETENSORS", /at most 8 levels/);
  await refused(long(`{${"x".repeat(2 ** 20)}`), "E_SAFETENSORS", /JSON/);
  const empty = (n: number) =>
    `{${Array.from({ length: n }, (_, i) => `"${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`).join(",")}}`;
  await refused(long(empty(1e6)), "E_SAFETENSORS", /at most 131072 tensors/, 128);
  open(prefix(BigInt(empty(3e4).length)), empty(3e4))();
  const deep = (n: number) => `${"[".repeat(n)}${"]".repeat(n)}`;
  await refused(long(`{"a":{"dtype":${deep(1e5)}}}`), "E_SAFETENSORS", /at most 8 levels/);
  await refused(long(`{"a":${deep(1e5)}}`), "E_SAFETENSORS", /at most 8 levels/);
  await refused(long(`{"${"n".repeat(2 ** 22)}":7}`), "E_SAFETENSORS", /to be an object/);
  const many = `[${"1,".repeat(1e5)}1]`;
  await refused(long(`{"a":{"dtype":"F32","shape":${many},"data_offsets":[0,4]}}`), "E_SAFETENSORS", /at most 64 sizes/);
});

test("pickles, under their own name and as safetensors, with what to do about them", async () => {
  const zip = Buffer.from("PK\x03\x04\x00\x00\x08\x08model/data.pkl", "latin1");
  const plain = Buffer.from("\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "latin1");
  for (const bytes of [zip, plain]) {
    const named = write("model.safetensors", bytes);
    await refused(() => Checkpoint.open(folder), "E_SAFETENSORS", /a pickle of PyTorch; .*anymal convert/);
    rmSync(named);
    const bin = write("pytorch_model.bin", bytes);
    await refused(() => Checkpoint.open(bin), "E_SAFETENSORS", /a pickle of PyTorch; .*anymal convert/);
    await refused(() => Checkpoint.open(folder), "E_SAFETENSORS", /pytorch_model\.bin, which is a pickle; .*anymal convert/);
  }
});

test("links: out of the folder they are refused, within it and into the hub's cache they are followed", async () => {
  const outside = mkdtempSync(join(tmpdir(), "anymal-outside-"));
  try {
    writeFileSync(join(outside, "x.safetensors"), tensorFile("a"));
    const shard = join(folder, "model-1.safetensors");
    index({ a: "model-1.safetensors" });
    const open = () => Checkpoint.open(folder).close();
    for (const target of [join(outside, "x.safetensors"), "/etc/passwd", join("..", "..", "etc", "passwd")]) {
      symlinkSync(target, shard);
      const there = existsSync(shard); // whether ../../etc is depends on where the folder is
      if (there) await refused(open, "E_FILE", /a link that leads out of it; put the file itself there/);
      else await refused(open, "E_SAFETENSORS", /no such file/);
      rmSync(shard);
    }
    symlinkSync("model-1.safetensors", shard); // to itself
    await refused(open, "E_SAFETENSORS", /no such file/);
    rmSync(shard);
    mkdirSync(shard);
    await refused(open, "E_FILE", /a regular file, got a folder/);
    rmSync(shard, { recursive: true });
    execFileSync("mkfifo", [shard]);
    await refused(open, "E_FILE", /a regular file, got a device or pipe/); // and does not wait for a writer
    rmSync(shard);
    write("other.safetensors", tensorFile("a"));
    symlinkSync("other.safetensors", shard);
    open();

    const model = join(outside, "models--org--name");
    const snapshot = join(model, "snapshots", "0123");
    for (const name of ["blobs", join("snapshots", "0123")]) mkdirSync(join(model, name), { recursive: true });
    writeFileSync(join(model, "blobs", "4567"), tensorFile("a"));
    symlinkSync(join("..", "..", "blobs", "4567"), join(snapshot, "model-1.safetensors"));
    index({ a: "model-1.safetensors" }, snapshot);
    Checkpoint.open(snapshot).close();
    // As huggingface_hub's local_dir once did: links from anywhere into the cache.
    rmSync(shard);
    symlinkSync(join(model, "blobs", "4567"), shard);
    open();
  } finally {
    rmSync(outside, { recursive: true });
  }
});

test("an index that is none, or has no end", async () => {
  const at = join(folder, "model.safetensors.index.json");
  for (const [text, says] of [
    ["", /JSON/],
    ["[]", /weight_map/],
    ['{"weight_map":7}', /weight_map/],
    [`{"weight_map":{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}}`, /deeper than 200 levels/],
    [`{"weight_map":{"a":"${"../".repeat(1e5)}etc/passwd"}}`, /a file of this folder/],
    [`{"weight_map":{"a":"${"x".repeat(1e6)}"}}`, /no such file|a file of this folder/],
    [`{"weight_map":${"[".repeat(1e5)}${"]".repeat(1e5)}}`, /deeper than 200 levels/],
  ] as const) {
    writeFileSync(at, text);
    await refused(() => Checkpoint.open(folder), "E_SAFETENSORS", says);
  }
});

test("tokenizers: lengths beyond the file, pieces that are none, a model of another kind", async () => {
  const huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
  const read =
    (...bytes: number[]) =>
    () =>
      new SentencePiece(Uint8Array.from(bytes));
  await refused(read(0x0a, ...huge), "E_TOKENIZER", /bytes at byte/);
  await refused(read(0x0a, 0x0b, 0x0a, ...huge), "E_TOKENIZER", /bytes at byte/);
  await refused(read(0x0a, ...Array.from({ length: 40 }, () => 0xff)), "E_TOKENIZER", /a whole protobuf message/);
  await refused(read(0x0b, 0x0c), "E_TOKENIZER", /wire type/);
  await refused(read(0x0a, 3, 0x12, 1, 0), "E_TOKENIZER", /a score of four bytes/);
  await refused(read(0x0a, 8, 0x0a, 4, ...Buffer.from("<0xZ"), 0x18, 6), "E_TOKENIZER", /byte pieces/);
  await refused(() => new SentencePiece(new Uint8Array(2 ** 22)), "E_TOKENIZER", /wire type|pieces/);
  for (const text of ["{", "[]", "null", '{"model":null}', '{"model":{"type":"BPE"}}', `${"[".repeat(1e5)}${"]".repeat(1e5)}`]) {
    write("tokenizer.json", text);
    await refused(() => Tokenizer.fromPretrained(folder), "E_TOKENIZER", /expected .*tokenizer\.json/);
  }
});

test("a user-defined piece without text does not keep encoding from its end", () => {
  const piece = (text: string, type: number) => {
    const bytes = Buffer.from(text);
    return [0x0a, bytes.length + 4, 0x0a, bytes.length, ...bytes, 0x18, type];
  };
  const model = new SentencePiece(Uint8Array.from([...piece("<unk>", 2), ...piece("", 4), ...piece("a", 1), 0x12, 2, 0x18, 2]));
  assert.equal(
    model.encode("aa").filter((id) => id === 2),
    [2, 2],
  );
});

test("bombs: a picture that unpacks to far more than it claims, an array of 2^40 rows", async () => {
  const chunk = (name: string, content: Uint8Array): Buffer => {
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(name), content, Buffer.alloc(4)]);
    bytes.writeUInt32BE(content.length, 0);
    bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), bytes.length - 4);
    return bytes;
  };
  const header = Buffer.from([0, 0, 0, 2, 0, 0, 0, 2, 8, 2, 0, 0, 0]);
  const packed = deflateSync(Buffer.alloc(2 ** 28), { level: 9 });
  const magic = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
  const comment = Buffer.concat([magic, chunk("IHDR", header), chunk("zTXt", Buffer.concat([Buffer.from("Comment\0\0"), packed]))]);
  const rows = chunk("IDAT", deflateSync(Buffer.alloc(14)));
  await bounded(() => loadImage(image(Buffer.concat([comment, rows, chunk("IEND", Buffer.alloc(0))]))));
  await bounded(() =>
    loadImage(image(Buffer.concat([magic, chunk("IHDR", header), chunk("IDAT", packed), chunk("IEND", Buffer.alloc(0))]))),
  );
  const npy = (shape: string) => {
    const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape}), }\n`;
    return Buffer.concat([Buffer.from("\x93NUMPY\x01\0", "latin1"), Uint8Array.of(text.length, 0), Buffer.from(text), Buffer.alloc(96)]);
  };
  for (const shape of [`6, ${2 ** 40}`, `${"9".repeat(400)}, 6`, `${2 ** 31}, ${2 ** 31}`, "0, 9007199254740992", "9007199254740992, 0"])
    await refused(() => loadImu(imu(npy(shape), { sampleRate: 50 })), "E_MEDIA_FORMAT", /expected/);
});

/** Taken or refused with a typed error, it costs little. */
async function bounded(run: () => Promise<unknown>): Promise<void> {
  const rss = process.memoryUsage.rss();
  await run().catch((error) => assert.instance(error, AnymalError));
  assert.ok(process.memoryUsage.rss() - rss < 64 * 2 ** 20, `took ${(process.memoryUsage.rss() - rss) / 2 ** 20} MiB`);
}

function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let k = 0; k < 8; ++k) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

test.run();
