// Where the hub is, where its cache lies and who asks: what the environment says, in huggingface_hub's variables.
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { checkOptions, optionNames } from "../../core/options.js";
import { HubError } from "./error.js";

export interface HubSettings {
  /** HF_ENDPOINT. Default https://huggingface.co. */
  endpoint: string;
  /** HF_HUB_CACHE (or HUGGINGFACE_HUB_CACHE), else `hub` in HF_HOME, else in ~/.cache/huggingface. */
  cache: string;
  /** HF_TOKEN (or HUGGING_FACE_HUB_TOKEN), else the file `token` in HF_HOME that `hf auth login` writes. Sent to the endpoint's host alone. */
  token: string | undefined;
  /** HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE): no request is made. */
  offline: boolean;
  /** HF_HUB_DISABLE_SYMLINKS: entries of snapshots are files of their own. They are anyway where links are not possible. */
  symlinks: boolean;
  /** HF_HUB_DOWNLOAD_TIMEOUT, in ms: as long as a server may say nothing before it is asked again. Default 30 s. */
  timeoutMs: number;
  /** How often a request is made that fails for reasons that may pass. Default 5. */
  attempts: number;
  /** Before the second attempt, in ms; doubled before each further one. Default 500. */
  backoffMs: number;
  /** Files that are fetched side by side. Default 4. */
  parallel: number;
}

const NAMES = optionNames<HubSettings>({
  ...({ endpoint: true, cache: true, token: true, offline: true, symlinks: true } as const),
  ...({ timeoutMs: true, attempts: true, backoffMs: true, parallel: true } as const),
});

const isTrue = (value: string | undefined): boolean => ["1", "ON", "YES", "TRUE"].includes((value ?? "").toUpperCase());

/** What `given` says, else the environment (HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE). */
export function hubSettings(env: NodeJS.ProcessEnv = process.env, given: Partial<HubSettings> = {}): HubSettings {
  checkOptions("hubSettings", given, NAMES);
  const home = pathOf(env.HF_HOME, env) ?? join(pathOf(env.XDG_CACHE_HOME, env) ?? join(homedir(), ".cache"), "huggingface");
  const cache = pathOf(env.HF_HUB_CACHE, env) ?? pathOf(env.HUGGINGFACE_HUB_CACHE, env) ?? join(home, "hub");
  const settings: HubSettings = {
    endpoint: env.HF_ENDPOINT || "https://huggingface.co",
    cache,
    token: undefined,
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
    timeoutMs: Number(env.HF_HUB_DOWNLOAD_TIMEOUT) * 1000 || 30_000,
    attempts: 5,
    backoffMs: 500,
    parallel: 4,
    ...given,
  };
  if (!("token" in given)) settings.token = tokenIn(env, home);
  return { ...settings, endpoint: endpointOf(settings.endpoint), cache: resolve(settings.cache) };
}

/** A leading ~ and $NAMES are filled in, as huggingface_hub does: the variables often come from files that no shell has read. */
function pathOf(value: string | undefined, env: NodeJS.ProcessEnv): string | undefined {
  if (!value) return undefined;
  const home = value === "~" || /^~[\\/]/.test(value) ? homedir() + value.slice(1) : value;
  return home.replace(/\$(?:(\w+)|\{(\w+)\})/g, (all, bare, braced) => env[bare ?? braced] ?? all);
}

function tokenIn(env: NodeJS.ProcessEnv, home: string): string | undefined {
  const clean = (token: string | undefined): string | undefined => token?.replace(/[\r\n]/g, "").trim() || undefined;
  const given = clean(env.HF_TOKEN) ?? clean(env.HUGGING_FACE_HUB_TOKEN);
  if (given) return given;
  try {
    return clean(readFileSync(pathOf(env.HF_TOKEN_PATH, env) ?? join(home, "token"), "utf8"));
  } catch {
    return undefined; // nobody has logged in
  }
}

function endpointOf(value: string): string {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  if (!url || !/^https?:$/.test(url.protocol))
    throw new HubError("E_HUB_ID", "HF_ENDPOINT", "the address of a hub, e.g. https://huggingface.co", value, "correct or unset it");
  return value.replace(/\/+$/, "");
}
