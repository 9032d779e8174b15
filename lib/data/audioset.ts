// AudioSet's segments (research.google.com/audioset/download.html): three lines that begin with "#", then a clip a line, YTID, start, end, "/m/…,/m/…". What
// the labels are called says a file beside it: the ontology, or the classes' indices.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { csvRows } from "./csv.js";
import { entriesOf, linesOf, notUtf8 } from "./lines.js";
import { type DataRecord, isFields, shown } from "./records.js";
import { DataError } from "./row.js";

const NAMES = ["class_labels_indices.csv", "ontology.json"];
const SEGMENT = /^\s*([^,"\s]+),\s*(\d+(?:\.\d+)?),\s*(\d+(?:\.\d+)?),\s*"?([^"]*?)"?\s*$/;

/** Rows of audio and caption: sound tracks as YTID.wav, from start to end, and what is heard of them. */
export async function* audiosetRecords(path: string, signal?: AbortSignal): AsyncGenerator<DataRecord | DataError> {
  const names = await labelNames(path, signal);
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  for await (const { number, bytes } of linesOf(path, signal)) {
    const wrong = (expected: string, got: string, remedy: string) => new DataError("E_ROW", path, number, expected, got, remedy);
    let line: string;
    try {
      line = utf8.decode(bytes);
    } catch {
      yield wrong("a line in UTF-8", ...notUtf8(bytes));
      continue;
    }
    if (!line.trim() || line.startsWith("#")) continue;
    const [, id, from, to, labels = ""] = SEGMENT.exec(line) ?? [];
    const [start, end] = [Number(from), Number(to)];
    const mids = labels.split(",").map((mid) => mid.trim());
    const unknown = mids.find((mid) => !names.has(mid));
    if (id === undefined || !(end > start))
      yield wrong('YTID, start_seconds, end_seconds, "labels"', shown(line), "fetch the file again, or leave the row out");
    else if (unknown !== undefined)
      yield wrong(`labels of ${NAMES.join(" or ")}`, shown(unknown), "take the file that belongs to these segments");
    else {
      const caption = mids.map((mid) => names.get(mid)).join("; ");
      yield { number, fields: { audio: { path: `${id}.wav`, start, seconds: end - start }, caption } };
    }
  }
}

function parsed(bytes: Uint8Array | undefined): unknown {
  try {
    return JSON.parse(Buffer.from(bytes ?? []).toString("utf8"));
  } catch {
    return undefined; // a label that is asked for is missed, then
  }
}

async function labelNames(path: string, signal?: AbortSignal): Promise<ReadonlyMap<string, string>> {
  const [classes, ontology] = NAMES.map((name) => join(dirname(path), name)) as [string, string];
  const names = new Map<string, string>();
  const add = (mid: unknown, name: unknown) => {
    if (typeof mid === "string" && typeof name === "string") names.set(mid, name);
  };
  if (existsSync(classes)) {
    for await (const row of csvRows(classes, linesOf(classes, signal))) {
      if (row instanceof DataError) throw row;
      add(row.fields.mid, row.fields.display_name);
    }
  } else if (existsSync(ontology)) {
    for await (const { bytes } of entriesOf(ontology, signal)) {
      const one: unknown = parsed(bytes);
      if (isFields(one)) add(one.id, one.name);
    }
  }
  if (names.size) return names;
  const got = existsSync(classes) || existsSync(ontology) ? "none in it" : "none of the two";
  throw new DataError("E_DATA", path, undefined, `names of the labels in ${NAMES.join(" or ")} beside it`, got, "fetch one of them there");
}
