// A JSON object whose values are long lists, as COCO and Objects365 write them, entry by entry: the whole of it is longer than any string may be.
import { brokenList, chunksOf } from "../lines.js";

/** Longer entries are nobody's; their beginning is enough to say so. */
const MAX_ENTRY = 64 << 20;
const [QUOTE, BACKSLASH, COMMA] = [34, 92, 44];
const [OPEN_LIST, OPEN_OBJECT] = [91, 123];
const CLOSING = new Set([93, 125]);

export interface ListedEntry {
  /** Of the list. */
  key: string;
  /** From 1. */
  number: number;
  text: string;
}

/** Entries of all lists of the object, in the order of the file; what is no list is passed over. Throws E_DATA where the file is cut off. */
export async function* listedEntries(path: string, signal?: AbortSignal): AsyncGenerator<ListedEntry> {
  const utf8 = (parts: readonly Uint8Array[]) => Buffer.concat(parts).toString("utf8");
  let [depth, number, inText, escaped, ended, size] = [0, 0, false, false, false, 0];
  let key = "";
  let list = false;
  let held: Uint8Array[] = [];
  const hold = (part: Uint8Array) => {
    size += part.length;
    if (part.length && size <= MAX_ENTRY) held.push(Uint8Array.from(part));
  };
  const take = (): string => {
    const text = utf8(held).trim();
    [held, size] = [[], 0];
    return text;
  };
  for await (const chunk of chunksOf(path, signal)) {
    let from = 0;
    for (let at = 0; at < chunk.length; ++at) {
      const byte = chunk[at] as number;
      if (inText) {
        if (escaped) escaped = false;
        else if (byte === BACKSLASH) escaped = true;
        else if (byte === QUOTE) {
          inText = false;
          if (depth === 1) {
            hold(chunk.subarray(from, at));
            key = take();
          }
        }
        continue;
      }
      if (byte === QUOTE) {
        inText = true;
        if (depth === 1) from = at + 1;
      } else if (byte === OPEN_LIST || byte === OPEN_OBJECT) {
        if (depth === 1) {
          list = byte === OPEN_LIST;
          number = 0;
          from = at + 1;
        }
        ++depth;
      } else if (depth === 2 && list && (byte === COMMA || CLOSING.has(byte))) {
        hold(chunk.subarray(from, at));
        from = at + 1;
        const text = take();
        if (text) yield { key, number: ++number, text };
        if (byte !== COMMA) --depth;
      } else if (CLOSING.has(byte)) ended = --depth === 0;
    }
    if ((depth >= 2 && list) || (depth === 1 && inText)) hold(chunk.subarray(from));
  }
  if (!ended) brokenList(path, "cut", number + 1);
}
