// WebDataset's shards: a tar archive whose files belong to a sample by their names up to the first dot (its __key__), one after the other. One walk finds
// them; what is in them is read when a row is asked for.
import type { FileHandle } from "node:fs/promises";
import { openPlain } from "../../core/plain-file.js";
import { reasonOf } from "../../media/error.js";
import type { Kinds } from "../../media/kinds/index.js";
import { type DataRecord, isFields, shown } from "../records.js";
import { DataError } from "../row.js";
import { checkIndex, MEDIUM, type RecordSource } from "./source.js";
import { filled, membersOf } from "./tar-index.js";

/** Bytes of one file of a sample, and of what is said of it. */
const MOST_MEMBER = 256 << 20;
const MOST_TEXT = 64 << 20;

/** Which medium a name's ending says, unless the kind itself stands in it ("0001.imu.csv"). */
const ENDINGS: Readonly<Record<string, readonly string[]>> = {
  image: ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "avif", "gif", "ppm"],
  video: ["mp4", "webm", "mov", "mkv", "avi", "y4m"],
  audio: ["wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff", "aif", "caf"],
  imu: ["csv", "npy"],
};
/** Does its ending say that it is a medium? */
export const isMediaName = (name: string): boolean =>
  Object.values(ENDINGS).some((endings) => endings.includes(name.toLowerCase().split(".").at(-1) as string));
/** What a caption's file is called, and what stands in a table under the same name. */
const TEXTS: Readonly<Record<string, string>> = {
  txt: "caption",
  text: "caption",
  caption: "caption",
  cap: "caption",
  cls: "label",
  transcript: "transcript",
};

const isText = (ending: string): boolean => ending === "json" || Object.hasOwn(TEXTS, ending);

interface Sample {
  key: string;
  members: { ending: string; from: number; bytes: number }[];
}

export class TarRecords implements RecordSource {
  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    private readonly samples: readonly Sample[],
    private readonly kinds: Kinds,
  ) {}

  static async open(path: string, kinds: Kinds, signal?: AbortSignal): Promise<TarRecords> {
    const file = await openPlain(path);
    try {
      return new TarRecords(path, file, await samplesOf(path, file, signal), kinds);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get length(): number {
    return this.samples.length;
  }
  get sizes(): ArrayLike<number> {
    const sizeOf = ({ ending, bytes }: Sample["members"][number]) => {
      const last = ending.split(".").at(-1) as string;
      if (this.#kindOf(ending, last)) return MEDIUM;
      return isText(last) ? bytes : 0;
    };
    return this.samples.map(({ members }) => members.reduce((sum, member) => sum + sizeOf(member), 0));
  }
  numberOf(index: number): number {
    return index + 1;
  }

  async record(index: number): Promise<DataRecord | DataError> {
    checkIndex(this.path, index, this.length);
    const { key, members } = this.samples[index] as Sample;
    const wrong = (expected: string, got: string, remedy: string) =>
      new DataError("E_ROW", this.path, index + 1, `${expected} in sample ${shown(key)}`, got, remedy);
    const said = new Map<string, unknown>();
    const media = new Map<string, unknown[]>();
    const seen = new Set<string>();
    for (const { ending, from, bytes } of members) {
      if (seen.has(ending)) return wrong(`one file .${ending}`, "two", "give each sample a name of its own");
      seen.add(ending);
      const last = ending.split(".").at(-1) as string;
      const kind = this.#kindOf(ending, last);
      if (!kind && !isText(last)) continue; // what nobody reads here
      if (bytes > (kind ? MOST_MEMBER : MOST_TEXT))
        return wrong(`a file .${ending} of at most ${kind ? MOST_MEMBER : MOST_TEXT} bytes`, `${bytes}`, "leave the sample out");
      const content = await filled(this.path, this.file, Buffer.alloc(bytes), from);
      if (kind) media.set(kind, [...(media.get(kind) ?? []), content]);
      else if (last !== "json") said.set(TEXTS[last] as string, content.toString("utf8"));
      else {
        const value = parsed(content);
        if (value instanceof Error || !isFields(value))
          return wrong(
            `one JSON object in .${ending}`,
            value instanceof Error ? reasonOf(value) : shown(value),
            "mend it, or leave the sample out",
          );
        for (const [name, one] of Object.entries(value)) if (!said.has(name)) said.set(name, one);
      }
    }
    for (const [kind, all] of media) {
      for (const name of [kind, `${kind}s`]) said.delete(name); // paths of wherever it was written
      said.set(all.length > 1 ? `${kind}s` : kind, all.length > 1 ? all : all[0]);
    }
    return { number: index + 1, fields: Object.fromEntries([["__key__", key], ...said]) };
  }

  close(): Promise<void> {
    return this.file.close();
  }

  #kindOf(ending: string, last: string): string | undefined {
    const named = ending.split(".").find((part) => this.kinds.has(part));
    if (named && last !== "json" && last !== "txt") return named;
    return Object.entries(ENDINGS).find(([kind, endings]) => this.kinds.has(kind) && endings.includes(last))?.[0];
  }
}

function parsed(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString("utf8"));
  } catch (error) {
    return error;
  }
}

/** Files that follow each other under one key. Names without a key or an ending, and __of__ the archive itself, belong to none. */
async function samplesOf(path: string, file: FileHandle, signal?: AbortSignal): Promise<Sample[]> {
  const samples: Sample[] = [];
  for await (const { name, from, bytes } of membersOf(path, file, signal)) {
    const [, key, ending] = /^((?:.*\/)?[^./][^./]*)\.([^/]+)$/.exec(name.replace(/^\.\//, "")) ?? [];
    if (!key || !ending || /^__.*__$/.test(key.split("/").at(-1) as string)) continue;
    const last = samples.at(-1);
    const member = { ending: ending.toLowerCase(), from, bytes };
    if (last?.key === key) last.members.push(member);
    else samples.push({ key, members: [member] });
  }
  return samples;
}
