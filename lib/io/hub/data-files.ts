// Which files of a repository are a split of a data set: as its card says (`configs:` of README.md), else by the names of files and folders, as the `datasets`
// library tells them (huggingface.co/docs/hub/datasets-data-files-configuration).
import { isObject } from "../../core/checks.js";
import { parseYaml } from "../yaml.js";
import { HubError } from "./error.js";

export interface DataFilesOptions {
  /** Default "train". */
  split?: string | undefined;
  /** Of those that the card names: the default one, or the only one. */
  config?: string | undefined;
}

const DATA = /\.(parquet|jsonl|ndjson|json|csv|tsv|tar)$/i;
/** Said of the data, and no rows. */
const ABOUT = /(^|\/)(dataset_infos?|dataset_dict|state|package|config)\.json$|(^|\/)\./;
const KEYWORDS: Readonly<Record<string, readonly string[]>> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "dev", "val"],
  test: ["test", "testing", "eval", "evaluation"],
};
/** Of README.md. */
const LONGEST_CARD = 2 ** 17;

/** Names of the split's files, in their order. Throws E_HUB_FILES where there is no such split, or none that can be read here. */
export function dataFilesOf(id: string, names: readonly string[], card: string | undefined, options: DataFilesOptions = {}): string[] {
  const { split = "train", config } = options;
  const data = names.filter((name) => DATA.test(name) && !ABOUT.test(name)).sort();
  const fail = (wanted: string, got: string, next: string) => new HubError("E_HUB_FILES", id, wanted, got, next);
  const some = names.slice(0, 6).join(", ") || "none";
  if (!data.length)
    throw fail("Parquet, JSONL, JSON, CSV, TSV or shards of WebDataset", some, "convert it, or take a revision that has them");
  const configs = configsOf(card);
  const chosen = configs.length
    ? (configs.find(({ name, isDefault }) => (config === undefined ? isDefault : name === config)) ??
      (config === undefined && configs.length === 1 ? configs[0] : undefined))
    : undefined;
  if ((configs.length || config !== undefined) && !chosen)
    throw fail(
      `a config of ${configs.map(({ name }) => name).join(", ") || "none: the card names no configs"}`,
      config ?? "no word of which",
      "say which with config",
    );
  const splits = chosen ? chosen.splits(data) : byNames(data);
  const files = splits.get(split);
  const whole = Number(/-\d{5}-of-(\d{5})\.\w+$/.exec(files?.[0] ?? "")?.[1] ?? 0);
  if (files && whole > files.length && chosen === undefined)
    throw fail(`all ${whole} shards of ${split}`, `${files.length}`, "fetch the others: allow a request to the hub once");
  if (files?.length) return files;
  const there = [...splits].filter(([, own]) => own.length).map(([name]) => name);
  throw fail(`a split of ${there.join(", ") || "none"}`, split, "say which with split");
}

interface Config {
  name: string;
  isDefault: boolean;
  splits(data: readonly string[]): Map<string, string[]>;
}

/** What the card's front matter says under `configs`; nothing where it is none, or of another form. */
function configsOf(card: string | undefined): Config[] {
  const [, head] = /^\uFEFF?---\r?\n([\s\S]*?)\r?\n---/.exec((card ?? "").slice(0, LONGEST_CARD)) ?? [];
  let meta: unknown;
  try {
    meta = head === undefined ? undefined : parseYaml(head);
  } catch {
    return []; // a card is written for people: the names of files are left
  }
  const list = isObject(meta) && Array.isArray(meta.configs) ? meta.configs : [];
  return list.filter(isObject).flatMap((config): Config[] => {
    const { config_name: name = "default", data_files: files, data_dir: folder, default: isDefault } = config;
    if (typeof name !== "string") return [];
    const below = typeof folder === "string" ? `${folder.replace(/^\.?\/|\/$/g, "")}/` : "";
    const splits = (data: readonly string[]) => {
      const own = data.filter((path) => path.startsWith(below));
      if (files === undefined) return byNames(own);
      const said = typeof files === "string" || (Array.isArray(files) && files.every((one) => typeof one === "string"));
      const entries: [string, unknown][] = said
        ? [["train", files]]
        : Array.isArray(files)
          ? files.filter(isObject).map((one) => [String(one.split ?? "train"), one.path])
          : Object.entries(isObject(files) ? files : {});
      return new Map(
        entries.map(([split, paths]) => {
          const patterns = [paths].flat().filter((one): one is string => typeof one === "string");
          return [split, own.filter((path) => patterns.some((pattern) => matches(`${below}${pattern.replace(/^\.\//, "")}`, path)))];
        }),
      );
    };
    return [{ name, isDefault: isDefault === true || name === "default", splits }];
  });
}

/** data/train-00000-of-00002.parquet, or a keyword in the name of a file or folder; where none has one, all are the training split. */
function byNames(data: readonly string[]): Map<string, string[]> {
  const sharded = new Map<string, string[]>();
  for (const path of data) {
    const split = /(?:^|\/)data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*$/.exec(path)?.[1];
    if (split) sharded.set(split, [...(sharded.get(split) ?? []), path]);
  }
  if (sharded.size) return sharded;
  const named = new Map<string, string[]>();
  for (const [split, words] of Object.entries(KEYWORDS)) {
    const word = new RegExp(`(^|[-._ /\\d])(${words.join("|")})([-._ /\\d]|$)`, "i");
    const own = data.filter((path) => word.test(path));
    if (own.length) named.set(split, own);
  }
  return named.size ? named : new Map([["train", [...data]]]);
}

const FOLDERS = Symbol("any folders");
const ANY = Symbol("any letters of a name");
const ONE = Symbol("a letter of a name");
type Token = string | RegExp | typeof FOLDERS | typeof ANY | typeof ONE;

/** Does a pattern of *, **, ?, [0-9] fit the path? All of its beginnings at once: a stranger's pattern takes no longer than its letters times the path's. */
export function matches(pattern: string, path: string): boolean {
  const tokens: Token[] = [];
  for (const [token] of pattern.slice(0, 1024).matchAll(/\*\*\/?|\*|\?|\[[^\][\\/]+\]|[\s\S]/g)) {
    if (token.startsWith("**")) tokens.push(FOLDERS);
    else if (token === "*") tokens.push(ANY);
    else if (token === "?") tokens.push(ONE);
    else tokens.push(token.length > 2 ? classOf(token) : token);
  }
  const past = (at: ReadonlySet<number>) => {
    const all = new Set(at);
    for (const i of all) if (tokens[i] === ANY || tokens[i] === FOLDERS) all.add(i + 1);
    return all;
  };
  let at = past(new Set([0]));
  for (const letter of path) {
    const next = new Set<number>();
    for (const i of at) {
      const token = tokens[i];
      if (token === FOLDERS || (token === ANY && letter !== "/")) next.add(i);
      else if (token === ONE ? letter !== "/" : token instanceof RegExp ? token.test(letter) : token === letter) next.add(i + 1);
    }
    at = past(next);
  }
  return at.has(tokens.length);
}

/** [0-9], [!a]: of letters alone, so that nothing in it means more. */
function classOf(token: string): RegExp | string {
  const inner = token.slice(1, -1).replace(/^[!^]/, "");
  if (!/^[\w.-]+$/.test(inner)) return token;
  try {
    return new RegExp(`^[${/^\[[!^]/.test(token) ? "^" : ""}${inner}]$`);
  } catch {
    return token; // [z-a]
  }
}
