// The directory of a zip archive, and where in the file its members lie. torch.save stores them as they are, so that they can be read in place; what is
// compressed or encrypted, what overlaps, and what has a name that could lead elsewhere is refused. Nothing is ever unpacked.
import { crc32 } from "node:zlib";
import type { Bytes } from "./cursor.js";
import { PickleError, quoted } from "./error.js";

export interface Member {
  readonly name: string;
  readonly bytes: number;
  /** Of the content; 0 says that whoever wrote it computed none. */
  readonly crc: number;
  readonly method: number;
  readonly encrypted: boolean;
  /** Of its own header in the file. */
  readonly header: number;
  /** Where the next member, or the directory, begins. */
  readonly before: number;
}

const END = { sign: 0x06054b50, bytes: 22, comment: 0xffff };
const END_64 = { sign: 0x06064b50, bytes: 56 };
const LOCATOR_64 = { sign: 0x07064b50, bytes: 20 };
const ENTRY = { sign: 0x02014b50, bytes: 46 };
const HEADER = { sign: 0x04034b50, bytes: 30 };
const STORED = 0;
const ENCRYPTED = 1;
const FULL = 0xffffffff;
const EXTRA_64 = 1;
const LONGEST_DIRECTORY = 100_000_000;
const DAMAGED = "the file was cut, or is damaged: fetch it again";

export class ZipDirectory {
  readonly members: ReadonlyMap<string, Member>;

  constructor(private readonly file: Bytes) {
    const { at, bytes, count } = this.#end();
    if (bytes > LONGEST_DIRECTORY) this.#fail(`a directory of at most ${LONGEST_DIRECTORY} bytes`, String(bytes));
    if (!(at + bytes <= file.size)) this.#fail("a directory inside of the file", `one from ${at} to ${at + bytes}`);
    if (!(count * ENTRY.bytes <= bytes))
      this.#fail(`at most ${Math.floor(bytes / ENTRY.bytes)} members in a directory of ${bytes} bytes`, `${count}`);
    this.members = this.#read(new DataView(file.read(at, bytes)), count, at);
  }

  /** Where a member's content begins. Its own header must say the same as the directory. */
  contentOf(member: Member): number {
    const { name, header, before, bytes } = member;
    if (member.encrypted || member.method !== STORED)
      this.#fail(
        `${quoted(name)} as torch.save stores it`,
        member.encrypted ? "an encrypted one" : "a compressed one",
        "unpack the archive and save the tensors with torch.save",
      );
    if (header + HEADER.bytes > before) this.#fail(`${quoted(name)} inside of the file`, `one at ${header}`);
    const view = new DataView(this.file.read(header, HEADER.bytes));
    if (view.getUint32(0, true) !== HEADER.sign) this.#fail(`${quoted(name)} where the directory says`, `something else at ${header}`);
    const [nameBytes, extraBytes] = [view.getUint16(26, true), view.getUint16(28, true)];
    const start = header + HEADER.bytes + nameBytes + extraBytes;
    if (start + bytes > before)
      this.#fail(`${quoted(name)} of ${bytes} bytes inside of the file`, `room for ${Math.max(0, before - start)}`);
    const own = new TextDecoder().decode(this.file.read(header + HEADER.bytes, nameBytes));
    if (own !== name || view.getUint16(8, true) !== STORED) this.#fail(`${quoted(name)} at ${header}`, quoted(own));
    return start;
  }

  /** A small member's content, held against its checksum. */
  content(member: Member, most: number): Uint8Array {
    if (member.bytes > most) this.#fail(`${quoted(member.name)} of at most ${most} bytes`, String(member.bytes));
    const content = new Uint8Array(this.file.read(this.contentOf(member), member.bytes));
    if (member.crc !== 0 && crc32(content) !== member.crc)
      this.#fail(`${quoted(member.name)} with the checksum of the directory`, "another one", DAMAGED);
    return content;
  }

  #fail(expected: string, got: string, advice?: string): never {
    throw new PickleError(this.file.path, expected, got, advice);
  }

  /** The directory's place; in files of more than 4 GB a second record has the wider numbers. */
  #end(): { at: number; bytes: number; count: number } {
    const { size } = this.file;
    const length = Math.min(size, END.bytes + END.comment);
    const tail = new DataView(this.file.read(size - length, length));
    let at = length - END.bytes;
    while (at >= 0 && !(tail.getUint32(at, true) === END.sign && tail.getUint16(at + 20, true) === length - END.bytes - at)) --at;
    if (at < 0) this.#fail("the directory of a zip archive at the end", "none", DAMAGED);
    const wide = this.#wide(size - length + at);
    if (wide) return wide;
    if (tail.getUint16(at + 4, true) !== 0) this.#fail("an archive of one file", "a part of one");
    return { at: tail.getUint32(at + 16, true), bytes: tail.getUint32(at + 12, true), count: tail.getUint16(at + 10, true) };
  }
  #wide(end: number): { at: number; bytes: number; count: number } | undefined {
    const place = end - LOCATOR_64.bytes;
    if (place < 0) return undefined;
    const locator = new DataView(this.file.read(place, LOCATOR_64.bytes));
    if (locator.getUint32(0, true) !== LOCATOR_64.sign) return undefined;
    const at = Number(locator.getBigUint64(8, true));
    if (at + END_64.bytes > place) this.#fail("the wide end of the directory inside of the file", `one at ${at}`);
    const view = new DataView(this.file.read(at, END_64.bytes));
    if (view.getUint32(0, true) !== END_64.sign) this.#fail("the wide end of the directory", "something else");
    const number = (offset: number) => Number(view.getBigUint64(offset, true));
    return { at: number(48), bytes: number(40), count: number(32) };
  }

  #read(view: DataView, count: number, directory: number): Map<string, Member> {
    const found: Omit<Member, "before">[] = [];
    const names = new Set<string>();
    let at = 0;
    for (let i = 0; i < count; ++i) {
      if (at + ENTRY.bytes > view.byteLength || view.getUint32(at, true) !== ENTRY.sign)
        this.#fail(`${count} members in the directory`, `${i}`);
      const lengths = [28, 30, 32].map((offset) => view.getUint16(at + offset, true)) as [number, number, number];
      const next = at + ENTRY.bytes + lengths[0] + lengths[1] + lengths[2];
      if (next > view.byteLength) this.#fail(`${count} members in the directory`, `${i}`);
      const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + ENTRY.bytes, lengths[0]));
      if (/^[/\\]|[\\\0]|^[A-Za-z]:|(^|\/)\.\.(\/|$)/.test(name)) this.#fail("names inside of the archive", quoted(name));
      if (names.has(name)) this.#fail("every name once", `${quoted(name)} twice`);
      names.add(name);
      found.push({
        name,
        ...this.#sizes(view, at, lengths[0], lengths[1], name),
        crc: view.getUint32(at + 16, true),
        method: view.getUint16(at + 10, true),
        encrypted: (view.getUint16(at + 8, true) & ENCRYPTED) !== 0,
      });
      at = next;
    }
    found.sort((a, b) => a.header - b.header);
    return new Map(
      found.map((member, i) => [member.name, { ...member, before: this.#checked(member, found[i + 1]?.header ?? directory) }]),
    );
  }

  #sizes(view: DataView, at: number, nameBytes: number, extraBytes: number, name: string): { bytes: number; header: number } {
    const small = [24, 20, 42].map((offset) => view.getUint32(at + offset, true)) as [number, number, number];
    const wide = this.#extra(view, at + ENTRY.bytes + nameBytes, extraBytes);
    let used = 0;
    const [bytes, packed, header] = small.map((value) =>
      value === FULL ? (wide[used++] ?? this.#fail(`the length of ${quoted(name)}`, "none")) : value,
    ) as [number, number, number];
    if (view.getUint16(at + 10, true) === STORED && bytes !== packed) this.#fail(`${quoted(name)} of one length`, `${packed} and ${bytes}`);
    return { bytes, header };
  }
  #extra(view: DataView, from: number, length: number): number[] {
    for (let at = from; at + 4 <= from + length; at += 4 + view.getUint16(at + 2, true)) {
      const bytes = Math.min(view.getUint16(at + 2, true), from + length - at - 4);
      if (view.getUint16(at, true) === EXTRA_64)
        return Array.from({ length: bytes >> 3 }, (_, i) => Number(view.getBigUint64(at + 4 + 8 * i, true)));
    }
    return [];
  }
  /** What is stored takes its length in the file, and nothing else may lie there. */
  #checked({ name, method, header, bytes }: Omit<Member, "before">, next: number): number {
    const least = header + HEADER.bytes + (method === STORED ? bytes : 0);
    if (!(least <= next)) this.#fail(`${quoted(name)} to end before ${next}, where the next member begins`, `${least}`);
    return next;
  }
}
