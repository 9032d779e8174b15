// The walk from header to header, on archives that are made byte by byte: what old and odd writers leave in a header.
import { open } from "node:fs/promises";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Member, membersOf } from "../../../lib/data/sources/tar-index.js";
import { dataError, Folder, rejects } from "../files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
});
test.after.each(() => folder.remove());

interface Header {
  name: string | Buffer;
  /** What the header says, whatever follows. */
  size?: number;
  type?: string;
  signed?: boolean;
}
function header({ name, size = 0, type = "0", signed = false }: Header): Buffer {
  const block = Buffer.alloc(512);
  Buffer.from(name).copy(block, 0);
  block.write(`${size.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  block.write("        ", 148, "latin1");
  block.write(type, 156, "latin1");
  const sum = block.reduce((all, byte) => all + (signed && byte > 127 ? byte - 256 : byte), 0);
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}
const content = (text: string) => Buffer.concat([Buffer.from(text), Buffer.alloc((512 - (text.length % 512)) % 512)]);
const END = Buffer.alloc(1024);

async function members(...blocks: Buffer[]): Promise<Member[]> {
  const path = folder.write("made.tar", Buffer.concat(blocks));
  const file = await open(path);
  try {
    const all: Member[] = [];
    for await (const member of membersOf(path, file)) all.push(member);
    return all;
  } finally {
    await file.close();
  }
}
const B: Member = { name: "b.txt", from: 1536, bytes: 1 };
const b = [header({ name: "b.txt", size: 1 }), content("b")];

test("sums of signed bytes, as old writers made them, and of unsigned ones; no others", async () => {
  const name = Buffer.from("é.txt");
  for (const signed of [true, false])
    assert.equal(await members(header({ name, size: 1, signed }), content("a"), ...b, END), [{ name: "é.txt", from: 512, bytes: 1 }, B]);
  const wrong = header({ name: "a.txt", size: 1 });
  wrong[0] = 0x62;
  await rejects(members(wrong, content("a"), END), dataError("E_DATA", "another sum than its own in the header at byte 0"));
});

test("links and folders have no content, whatever size their header says; a name with a slash behind it is a folder's", async () => {
  for (const type of ["1", "2", "5"]) {
    const moved = { ...B, from: 1024 };
    assert.equal(await members(header({ name: "a", size: 700, type }), ...b, END), [moved], `type ${type}`);
  }
  assert.equal(await members(header({ name: "a/", size: 1 }), content("x"), ...b, END), [B]);
});

test("a size in a pax header goes before the header's own", async () => {
  const record = "11 size=600\n".replace("11", "12");
  const made = await members(
    header({ name: "pax", size: record.length, type: "x" }),
    content(record),
    header({ name: "a.txt", size: 1 }),
    content("a".repeat(600)),
    ...b,
    END,
  );
  assert.equal(made, [
    { name: "a.txt", from: 1536, bytes: 600 },
    { ...B, from: 3072 },
  ]);
});

test("a file that would end behind the archive is told, and so is a size that is no number", async () => {
  await rejects(members(header({ name: "a.txt", size: 5000 }), content("a")), dataError("E_DATA", "an end within the file at byte 0"));
  await rejects(members(header({ name: "a.txt", size: 2 ** 32 }), content("a")), dataError("E_DATA", "an end within the file at byte 0"));
  const odd = header({ name: "a.txt" });
  odd.write("9", 124, "latin1");
  odd.write("        ", 148, "latin1");
  odd.write(`${odd.reduce((all, byte) => all + byte, 0).toString(8).padStart(6, "0")}\0 `, 148, "latin1"); // biome-ignore format: one line
  await rejects(members(odd, END), dataError("E_DATA", "no number of bytes in the header at byte 0"));
});

test.run();
