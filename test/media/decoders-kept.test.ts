// Decoders that stay open from one sound to the next: nothing of a sound, whole or hostile, is heard in another.
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { audio, loadAudio } from "../../lib/media/audio.js";
import { giveBack, keepInstances } from "../../lib/media/kept-instances.js";
import { flacOf } from "./flac-file.js";

interface Wasm {
  instantiate(source: object, imports: object): Promise<{ exports: Exports } & { instance: { exports: Exports } }>;
  Module: new (bytes: Uint8Array) => object;
}
interface Exports {
  m: { buffer: ArrayBuffer };
  bump(): number;
  call(): void;
  trap(): void;
  grow(): number;
}
const wasm = (globalThis as unknown as { WebAssembly: Wasm }).WebAssembly;
/** A memory of two pages with 7 in byte 8; bump adds 1 to byte 70000 and gives it, call calls the import a.f, trap is unreachable, grow grows by a page. */
const code = Buffer.from(
  `0061736d 01000000 0108 02 600000 6000017f 0207 01 0161 0166 0000 0305 04 01000001 0504 01 01020a
   0721 05 016d0200 0462756d700001 0463616c6c0002 04747261700003 0467726f770004
   0a2c 04 1a 00 41f0a204 41f0a204 2d0000 4101 6a 3a0000 41f0a204 2d0000 0b 04 00 1000 0b 03 00 00 0b 06 00 4101 4000 0b
   0b07 01 00 41080b 01 07`.replace(/\s/g, ""),
  "hex",
);

test("an instance that was given back is as new: its memory, and whose imports it calls", async () => {
  const { instantiate } = wasm;
  try {
    keepInstances();
    const module = new wasm.Module(code);
    const calls: string[] = [];
    const of = async (name: string) => (await wasm.instantiate(module, { a: { f: () => calls.push(name) } })).exports;
    const fails = { a: { f: () => assert.unreachable() } };
    const first = await of("first");
    const bytes = new Uint8Array(first.m.buffer);
    first.call();
    assert.equal([first.bump(), first.bump(), bytes[8]], [1, 2, 7]);
    bytes.fill(9);
    assert.ok(giveBack(true));
    const second = await of("second");
    assert.is(second.m, first.m);
    assert.equal(
      [...bytes.entries()].filter(([, byte]) => byte),
      [[8, 7]],
    );
    second.call();
    assert.equal(calls, ["first", "second"]);
    assert.is(second.bump(), 1);
    const beside = await of("beside");
    assert.is.not(beside.m, second.m);
    assert.is(beside.bump(), 1);
    giveBack(true);

    const spoil: [string, (exports: Exports) => unknown, boolean][] = [
      ["a trap", ({ trap }) => assert.throws(trap, /unreachable/), true],
      ["more memory", ({ grow }) => grow(), true],
      ["a sound that failed", ({ bump }) => bump(), false],
    ];
    for (const [what, use, isGood] of spoil) {
      const [one, another] = [await of("one"), await of("another")];
      use(one);
      use(another);
      assert.ok(giveBack(isGood), what);
      const fresh = await of("fresh");
      assert.ok(fresh.m !== one.m && fresh.m !== another.m, what);
      assert.is(fresh.bump(), 1, what);
      giveBack(true);
    }
    const thrown = (await wasm.instantiate(module, { a: { f: () => { throw new Error("out"); } } })).exports; // biome-ignore format: one line
    assert.throws(thrown.call, "out");
    giveBack(true);
    assert.is.not((await wasm.instantiate(module, fails)).exports.m, thrown.m);
    giveBack(true);

    const { exports } = (await wasm.instantiate(code, { a: { f: () => {} } })).instance;
    assert.ok(giveBack(false), "not called by the sound that failed");
    exports.bump();
    assert.ok(giveBack(true));
    exports.bump();
    assert.not.ok(giveBack(false), "nothing makes it new");
  } finally {
    wasm.instantiate = instantiate;
  }
});

const fileOf = (name: string): Buffer => readFileSync(new URL(`./files/${name}`, import.meta.url));
const hashOf = (samples: Float32Array): string => createHash("sha256").update(new Uint8Array(samples.buffer)).digest("hex");
const heard = async (bytes: Uint8Array): Promise<string> => {
  try {
    return hashOf((await loadAudio(audio(bytes))).samples);
  } catch (error) {
    return (error as Error).name;
  }
};

test("sounds between hostile ones have the bits that a process has which decodes nothing else", async () => {
  const kinds = ["flac", "mp3", "ogg", "opus", "m4a", "webm"].map((kind) => fileOf(`tones.${kind}`));
  const sized = [flacOf([500, -700, 900], { channels: 8, rate: 96000, block: 30000 }), flacOf([1, 2], { block: 64 }), Buffer.concat([kinds[1]!, kinds[1]!])]; // biome-ignore format: one line
  const good = [...kinds, ...sized];
  const want = await heardAlone(good);
  let seed = 5;
  const random = (n: number): number => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31;
    return Math.floor((seed / 2 ** 31) * n);
  };
  const hostile = (bytes: Buffer): Buffer => {
    const damaged = Buffer.from(bytes.subarray(0, random(4) ? bytes.length : 64 + random(bytes.length - 64)));
    for (let i = 1 + random(40); i > 0; --i) damaged[12 + random(damaged.length - 12)] = random(256);
    return damaged;
  };
  const order = Array.from({ length: 90 }, (_, i) => i % good.length);
  let refused = 0;
  for (const index of order) {
    if ((await heard(hostile(good[(index * 7) % good.length]!))) === "MediaError") ++refused;
    assert.is(await heard(good[index]!), want[index], `sound ${index}`);
  }
  assert.ok(refused > 3, `${refused} refused`);
  const atOnce = order.map((index) => [heard(hostile(good[random(good.length)]!)), heard(good[index]!)] as const);
  for (const [i, [, sound]] of atOnce.entries()) assert.is(await sound, want[order[i]!], `at once: sound ${order[i]}`);
});

/** In a process that decodes nothing else, without a worker. */
async function heardAlone(sounds: readonly Buffer[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-kept-"));
  try {
    for (const [i, bytes] of sounds.entries()) writeFileSync(join(folder, String(i)), bytes);
    const preload = 'import { isMainThread } from "node:worker_threads"; if (!isMainThread) throw new Error("none here");';
    const script = `
      import { createHash } from "node:crypto";
      const { audio, loadAudio } = await import(${JSON.stringify(new URL("../../lib/media/audio.ts", import.meta.url).href)});
      for (const file of process.argv.slice(1)) {
        const { samples } = await loadAudio(audio(file));
        console.log(createHash("sha256").update(new Uint8Array(samples.buffer)).digest("hex"));
      }`;
    const flags = [
      "--import",
      "tsx",
      "--import",
      `data:text/javascript,${encodeURIComponent(preload)}`,
      "--input-type=module",
      "-e",
      script,
    ];
    // The first six are of different kinds, of which none has a module in common; of the others the decoders are made anew.
    const { stdout } = await promisify(execFile)(process.execPath, [...flags, ...sounds.map((_, i) => join(folder, String(i)))]);
    return stdout.trim().split("\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test.run();
