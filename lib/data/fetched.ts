// Data that came from a hub as a whole: its rows were written elsewhere, and name files of wherever that was.
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** Of a snapshot in the hub's cache: its own folder, and that of its repository, where the blobs lie that it links to. */
const SNAPSHOT = /^(?<snapshot>(?<repository>.*[\\/](?:datasets|models|spaces)--[^\\/]+)[\\/]snapshots[\\/][^\\/]+)[\\/]/;
/** What huggingface_hub writes into a folder that it downloads to. */
const DOWNLOADED = join(".cache", "huggingface", "download");

export interface Fetched {
  /** All of what was fetched together. */
  folder: string;
  /** Where its links may lead. */
  blobs: string | undefined;
}

/** undefined of a file that lies in no snapshot of a cache and in no folder that huggingface_hub downloaded to. */
export function fetchedWith(file: string): Fetched | undefined {
  const path = resolve(file);
  const { snapshot, repository } = SNAPSHOT.exec(path)?.groups ?? {};
  if (snapshot && repository) return { folder: snapshot, blobs: join(repository, "blobs") };
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (existsSync(join(folder, DOWNLOADED))) return { folder, blobs: undefined };
    if (dirname(folder) === folder) return undefined;
  }
}
