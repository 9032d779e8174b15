// A data set of the hub by its id: the files of one split, from the cache or fetched into it, with the media that rows of text name.
import { existsSync, readdirSync } from "node:fs";
import { extname, join } from "node:path";
import { warn } from "../core/notice.js";
import { checkOptions, optionNames } from "../core/options.js";
import { readPlain } from "../core/plain-file.js";
import { type DataFilesOptions, dataFilesOf } from "../io/hub/data-files.js";
import { parseId } from "../io/hub/names.js";
import { type DownloadProgress, locateModel } from "../io/hub.js";
import { isText } from "./sources/open.js";
import { isMediaName } from "./sources/tar.js";

export interface HubDataOptions extends DataFilesOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: DownloadProgress) => void) | undefined;
  /** Makes no request: what is in the cache, or E_HUB_OFFLINE. Default false. */
  localFilesOnly?: boolean | undefined;
}
const OPTIONS = optionNames<HubDataOptions>({ split: true, config: true, signal: true, onProgress: true, localFilesOnly: true });

const SCHEME = "hf://datasets/";
const CARD = "README.md";
const LONGEST_CARD = 4 << 20;
const FORMATS = [".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tar", ".txt", ".yaml"];

/** What stands behind hf://datasets/, or an org/name[@revision] that is no file here; undefined of a path. */
export function hubDataId(from: string): string | undefined {
  if (from.startsWith(SCHEME)) return from.slice(SCHEME.length);
  if (existsSync(from) || FORMATS.includes(extname(from).toLowerCase()) || !from.includes("/")) return undefined;
  return parseId(from.replace(/@.*$/s, "")) && from;
}

/**
 * Paths of the files of a data set of the hub, `org/name` or `org/name@revision`, in the cache that Python uses too; what it lacks is fetched. Which they are
 * say the `configs` of its card, else the names of its files. With files of text come the media of the repository, since rows name them. Rejects with
 * HubError: E_HUB_FILES where there is no such split or config.
 */
export async function resolveData(id: string, options: HubDataOptions = {}): Promise<string[]> {
  checkOptions("resolveData", options, OPTIONS);
  return (await locateData(id, options)).files;
}

/** … and the commit that they are of. */
export async function locateData(id: string, options: HubDataOptions): Promise<{ files: string[]; commit: string | undefined }> {
  const { split, config, ...more } = options;
  const names: string[] = [];
  const locate = (files: (name: string) => boolean) =>
    locateModel(id, {
      ...more,
      ...{ files, repository: "dataset" },
      onRequest: (endpoint) => {
        if (!told.has(id)) warn("ANYMAL_HUB_DATA", `${id} is no file here: it is looked for at ${endpoint}`);
        told.add(id);
      },
    });
  // The card says which files are wanted; a set without one has others, and a cache that nobody may add to has what it has.
  const described = (name: string) => {
    names.push(name);
    return name === CARD || name === ".gitattributes";
  };
  const { folder, hub } = await locate(described).catch((error) => {
    if ((error as { code?: string }).code === "E_HUB_OFFLINE") return locate(() => true);
    throw error;
  });
  const there = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: "utf8" }) : [];
  const cached = there.map((name) => name.replaceAll("\\", "/"));
  names.push(...cached.filter((name) => existsSync(join(folder, name))));
  const path = join(folder, CARD);
  const card = existsSync(path) ? (await readPlain(path, { most: LONGEST_CARD })).toString("utf8") : undefined;
  const wanted = dataFilesOf(id, [...new Set(names)], card, { split, config });
  const alone = new Set(wanted);
  const media = wanted.some((name) => isText(name));
  const commit = hub ? `${id.replace(/@.*$/s, "")}@${hub.commit}` : id;
  const all = names.filter((name) => alone.has(name) || (media && isMediaName(name)));
  const { folder: whole } = await locateModel(commit, { ...more, files: (name) => all.includes(name), repository: "dataset" });
  return { files: wanted.map((name) => join(whole, name)), commit: hub?.commit };
}
const told = new Set<string>();
