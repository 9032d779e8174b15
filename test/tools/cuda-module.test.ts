// What a CUDA module holds, read from files made here: of two sources, with and without a card, PTX and a linked runtime. The real thing is read by
// `npm run check:cuda`, where there is an nvcc.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { complaintsOf, contentOf, flagsOf } from "../../tools/cuda-module.cjs";

const test = suite("a CUDA module's content");
let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "anymal-module-"));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

const [PTX, CODE] = [1, 2];
/** `a`: with what the card alone has. `code`: what it holds in place of bytes that are packed. */
type Entry = readonly [kind: number, card: number, more?: { a?: boolean; code?: Buffer }];

/** A fat binary as nvcc leaves one for each source: sixteen bytes of head, then entries of sixty-four and what they hold. */
function fatBinary(entries: readonly Entry[]): Buffer {
  const bodies = entries.map(([kind, card, { a = false, code } = {}], i) => {
    const held = code ?? Buffer.alloc(8 * (i + 1), 0x5a);
    const entry = Buffer.alloc(64);
    entry.writeUInt16LE(kind, 0);
    entry.writeUInt32LE(64, 4);
    entry.writeBigUInt64LE(BigInt(held.length), 8);
    entry.writeUInt32LE(code ? 0 : held.length, 16);
    entry.writeUInt32LE(card, 28);
    entry.writeBigUInt64LE(a ? 0x100011n : 0x11n, 40);
    return Buffer.concat([entry, held]);
  });
  const body = Buffer.concat(bodies);
  const head = Buffer.alloc(16);
  head.writeUInt32LE(0xba55ed50, 0);
  head.writeUInt16LE(16, 6);
  head.writeBigUInt64LE(BigInt(body.length), 8);
  return Buffer.concat([head, body]);
}

/** An ELF file with these sections, one after the other behind its head. */
function elf(sections: readonly { name: string; body: Buffer; link?: number }[]): Buffer {
  const names = ["", ...sections.map(({ name }) => name), ".shstrtab"];
  const strings = Buffer.from(`${names.join("\0")}\0`);
  const all = [{ name: "", body: Buffer.alloc(0) }, ...sections, { name: ".shstrtab", body: strings }];
  const headers = all.map(() => Buffer.alloc(64));
  let at = 64 + 64 * all.length;
  let name = 0;
  for (const [i, section] of all.entries()) {
    const header = headers[i] as Buffer;
    header.writeUInt32LE(name, 0);
    header.writeBigUInt64LE(BigInt(at), 24);
    header.writeBigUInt64LE(BigInt(section.body.length), 32);
    header.writeUInt32LE((section as { link?: number }).link ?? 0, 40);
    at += section.body.length;
    name += section.name.length + 1;
  }
  const head = Buffer.alloc(64);
  head.write("\x7fELF\x02\x01", "latin1");
  head.writeBigUInt64LE(64n, 40);
  for (const [value, offset] of [
    [64, 58],
    [all.length, 60],
    [all.length - 1, 62],
  ] as const)
    head.writeUInt16LE(value, offset);
  return Buffer.concat([head, ...headers, ...all.map(({ body }) => body)]);
}

function moduleOf(name: string, needed: readonly string[], ...sources: readonly (readonly Entry[])[]): string {
  const strings = Buffer.from(`\0${needed.join("\0")}\0`);
  const dynamic = Buffer.alloc(16 * (needed.length + 1));
  let at = 1;
  for (const [i, library] of needed.entries()) {
    dynamic.writeBigUInt64LE(1n, 16 * i);
    dynamic.writeBigUInt64LE(BigInt(at), 16 * i + 8);
    at += library.length + 1;
  }
  const file = join(folder, name);
  const fat = Buffer.concat(sources.flatMap((entries) => [fatBinary(entries), Buffer.alloc(8)]));
  writeFileSync(
    file,
    elf([
      { name: ".dynstr", body: strings },
      { name: ".dynamic", body: dynamic, link: 1 },
      { name: ".nv_fatbin", body: fat },
    ]),
  );
  return file;
}

const SYSTEM = ["libstdc++.so.6", "libc.so.6"];
const ASKED = ["80-real", "90a-real", "80-virtual"];
const whole: Entry[] = [
  [CODE, 80],
  [PTX, 80],
  [CODE, 90, { a: true }],
];
const kernels = elf([{ name: ".text.kernel", body: Buffer.alloc(8) }]);
const nothing = elf([{ name: ".nv.info", body: Buffer.alloc(8) }]);

test("cards, PTX and libraries are told, source by source", () => {
  const content = contentOf(moduleOf("whole.so", SYSTEM, whole, whole));
  assert.equal(content, {
    needed: SYSTEM,
    sources: [
      { cards: ["80", "90a"], ptx: ["80"] },
      { cards: ["80", "90a"], ptx: ["80"] },
    ],
  });
  assert.equal(complaintsOf(content, ASKED), []);
  assert.equal(complaintsOf(content, ["80"]), [], "code and PTX, as CMake has it");
});

test("what one source lacks, and a runtime that is not inside, are complained of", () => {
  const less: Entry[] = [
    [CODE, 80, { code: kernels }],
    [CODE, 90],
  ];
  const lacking = contentOf(moduleOf("lacking.so", ["libcudart.so.13", ...SYSTEM], whole, less));
  assert.equal(complaintsOf(lacking, ASKED), [
    "it links to libcudart.so.13: the host may not have it",
    "90a-real: no code for such cards in 1 of 2 sources",
    "80-virtual: no PTX in 1 of 2 sources",
  ]);
  assert.equal(complaintsOf(contentOf(moduleOf("none.so", SYSTEM)), []), ["it has no code for any card"]);
  assert.throws(() => contentOf(fileURLToPath(import.meta.url)), /expected a 64-bit ELF file/);
});

test("what linking adds is no source", () => {
  const added: Entry[] = [[CODE, 80, { code: nothing }]];
  assert.equal(complaintsOf(contentOf(moduleOf("linked.so", SYSTEM, added, whole)), ASKED), []);
});

test("by itself it prints the content, and fails where something is missing", () => {
  const program = fileURLToPath(new URL("../../tools/cuda-module.cjs", import.meta.url));
  const run = (architectures: string) =>
    spawnSync(process.execPath, [program, moduleOf("told.so", SYSTEM, whole), architectures], { encoding: "utf8" });
  const [all, less] = [run(ASKED.join(",")), run("120-real")];
  assert.is(all.status, 0, all.stderr);
  assert.is(all.stdout.trim(), "1 sources; code for 80, 90a; PTX for 80; links to libstdc++.so.6, libc.so.6");
  assert.is(less.status, 1);
  assert.match(less.stdout, /120-real: no code for such cards in 1 of 1 sources/);
});

test("nvcc is asked in its own words", () =>
  assert.equal(flagsOf(["90a-real", "80-virtual"]), [
    ...["-gencode", "arch=compute_90a,code=sm_90a"],
    ...["-gencode", "arch=compute_80,code=compute_80"],
  ]));

test.run();
