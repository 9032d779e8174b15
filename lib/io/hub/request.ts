// One question to the hub: redirects that never carry the token to another host, silence that ends, failures that may pass tried again.
import { setTimeout as sleep } from "node:timers/promises";
import { HubError } from "./error.js";
import type { HubSettings } from "./settings.js";

export interface Question {
  settings: HubSettings;
  /** The model, and perhaps a file: for messages. */
  what: string;
  /** What else could have been meant. Default: nothing. */
  wanted?: string;
  url: string;
  method?: "GET" | "HEAD";
  headers?: Readonly<Record<string, string>>;
  signal?: AbortSignal | undefined;
  /** Default: those of the settings. */
  attempts?: number;
}

/** An answer whose body is still to come. */
export interface Answer {
  response: Response;
  /** Aborts when nothing was heard for settings.timeoutMs: to be told of each piece of the body, and of the end. */
  silence: Silence;
}

const HOPS = 8;
const MAX_WAIT_MS = 60_000;

/** Ends a request over which nothing comes any more, and follows the caller's signal. */
export class Silence {
  readonly #controller = new AbortController();
  readonly #follow = () => this.#controller.abort(this.caller?.reason);
  #timer: NodeJS.Timeout | undefined;
  constructor(
    private readonly ms: number,
    private readonly caller: AbortSignal | undefined,
  ) {
    if (caller?.aborted) this.#follow();
    caller?.addEventListener("abort", this.#follow, { once: true });
    this.heard();
  }
  get signal(): AbortSignal {
    return this.#controller.signal;
  }
  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#controller.abort(new Error(`nothing heard for ${this.ms / 1000} s`)), this.ms);
  }
  end(): void {
    clearTimeout(this.#timer);
    this.caller?.removeEventListener("abort", this.#follow);
  }
}

/** The first answer that is no failure which may pass; refusals of the hub come as HubError. */
export async function ask(question: Question): Promise<Answer> {
  const { settings, what, wanted, signal, attempts = settings.attempts } = question;
  for (let attempt = 1; ; ++attempt) {
    signal?.throwIfAborted();
    // Not by `instanceof Error`: under Jest what fetch throws is another realm's.
    const { answer, error } = await once(question).then(
      (answer) => ({ answer, error: undefined }),
      (error: unknown) => ({ answer: undefined, error }),
    );
    signal?.throwIfAborted();
    const failed = answer ? passing(answer.response) : reason(error);
    if (answer && failed === undefined) return answer;
    const wait = answer ? retryAfter(answer.response) : 0;
    if (answer) drop(answer);
    if (attempt >= attempts) throw unreachable(what, failed ?? "", attempt, { cause: error, ...(wanted && { wanted }) });
    await pause(settings, attempt, wait, signal);
  }
}

/** Between two attempts: longer each time, never the same for two who failed together. */
export async function pause(settings: HubSettings, attempt: number, atLeast: number, signal: AbortSignal | undefined): Promise<void> {
  const wait = Math.max(atLeast, settings.backoffMs * 2 ** (attempt - 1) * (0.75 + Math.random() / 2));
  await sleep(Math.min(wait, MAX_WAIT_MS), undefined, { signal }).catch(() => signal?.throwIfAborted());
}

export function unreachable(
  what: string,
  failed: string,
  attempts: number,
  { cause, wanted = "an answer of the hub" }: { cause?: unknown; wanted?: string } = {},
): HubError {
  return new HubError(
    "E_HUB_NETWORK",
    what,
    wanted,
    `${failed}${attempts > 1 ? ` (${attempts} attempts)` : ""}`,
    `try again later: what has arrived is kept; check the network and HF_ENDPOINT${proxyHint(process.env)}`,
    cause === undefined ? {} : { cause },
  );
}

/** Node's fetch looks at no proxy of the environment unless it is told to; empty where none is set, or it is told. */
function proxyHint(env: NodeJS.ProcessEnv): string {
  const name = ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].find((variable) => env[variable]);
  if (!name || env.NODE_USE_ENV_PROXY === "1" || process.execArgv.includes("--use-env-proxy")) return "";
  const how = "set NODE_USE_ENV_PROXY=1 (Node 24 on), or npm install undici and call its setGlobalDispatcher(new EnvHttpProxyAgent())";
  return `; ${name} is set, which fetch does not look at by itself: ${how}`;
}

/** Nobody waits for the end of the body: fetch of Node 20 leaves that promise for ever where the signal aborted after the last byte had come. */
export function drop({ response, silence }: Answer): void {
  silence.end();
  response.body?.cancel().catch(() => undefined);
}

/**
 * The body, piece by piece. Every read is raced against the signal: fetch of Node 20 neither gives nor fails a read that waits when the signal aborts
 * after the last byte has come.
 */
export async function* bodyOf({ response, silence }: Answer): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const { signal } = silence;
  let abort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
  });
  aborted.catch(() => undefined); // told where a read is raced against it
  try {
    for (;;) {
      signal.throwIfAborted();
      const { done, value } = await Promise.race([reader.read(), aborted]);
      if (done) return;
      silence.heard();
      yield value as Uint8Array;
    }
  } finally {
    signal.removeEventListener("abort", abort);
    reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}

async function once({ settings, what, url, method = "GET", headers = {}, signal }: Question): Promise<Answer> {
  const home = new URL(settings.endpoint).origin;
  const silence = new Silence(settings.timeoutMs, signal);
  try {
    let at = new URL(url);
    for (let hop = 0; hop <= HOPS; ++hop) {
      const asks: Record<string, string> = { "accept-encoding": "identity", "user-agent": "anymal", ...headers };
      if (settings.token && at.origin === home) asks.authorization = `Bearer ${settings.token}`;
      const response = await fetch(at.href, { method, headers: asks, redirect: "manual", signal: silence.signal });
      silence.heard();
      const location = response.status >= 300 && response.status < 400 ? response.headers.get("location") : null;
      if (location === null) {
        if (response.status >= 400 && passing(response) === undefined) throw await refusal(settings, what, { response, silence });
        return { response, silence };
      }
      const next = URL.canParse(location, at.href) ? new URL(location, at) : undefined;
      if (!next || !/^https?:$/.test(next.protocol) || (at.protocol === "https:" && next.protocol === "http:"))
        throw new HubError("E_HUB_HOSTILE", what, "a redirect to https", location.slice(0, 200), "check HF_ENDPOINT");
      // Asked about a file, the hub tells all in its own answer; the storage behind knows less.
      if (method === "HEAD" && (next.origin !== home || response.headers.has("x-linked-etag"))) return { response, silence };
      response.body?.cancel().catch(() => undefined);
      at = next;
    }
    throw new HubError("E_HUB_NETWORK", what, `at most ${HOPS} redirects`, "more", "check HF_ENDPOINT");
  } catch (error) {
    silence.end();
    throw error;
  }
}

/** Why an answer is worth another attempt. */
function passing({ status, statusText }: Response): string | undefined {
  return status === 408 || status === 429 || status >= 500 ? `status ${status} ${statusText}`.trim() : undefined;
}

function reason(error: unknown): string {
  if (error instanceof HubError) throw error;
  const { message, cause } = Object(error) as { message?: string; cause?: NodeJS.ErrnoException };
  return cause?.code ?? cause?.message ?? message ?? String(error);
}

/** In ms. */
function retryAfter(response: Response): number {
  const value = response.headers.get("retry-after");
  if (value === null) return 0;
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now();
  return Math.max(0, ms || 0);
}

async function refusal(settings: HubSettings, what: string, answer: Answer): Promise<HubError> {
  const { status, headers } = answer.response;
  const code = headers.get("x-error-code") ?? "";
  const said = (headers.get("x-error-message") ?? "").slice(0, 200);
  drop(answer);
  const got = `status ${status}${said && `: ${said}`}`;
  const id = what.split(" ")[0];
  const login = settings.token ? "check that the token of HF_TOKEN may read it" : "set HF_TOKEN, or log in with `hf auth login`";
  if (code === "GatedRepo" || (status === 403 && code !== "RepoNotFound"))
    return new HubError(
      "E_HUB_ACCESS",
      what,
      "a model that may be read",
      got,
      `accept its conditions at ${settings.endpoint}/${id}, then ${login}`,
    );
  if (code === "RevisionNotFound")
    return new HubError("E_HUB_REVISION", what, "a revision of the model", got, `see ${settings.endpoint}/${id}/tree/main`);
  if (code === "EntryNotFound") return new HubError("E_HUB_FILES", what, "a file of the model", got, "try another revision");
  if (status === 401)
    return new HubError("E_HUB_ACCESS", what, "a model that anyone may read", got, `check the id; if it is private, ${login}`);
  if (status === 404)
    return new HubError(
      "E_HUB_NOT_FOUND",
      what,
      "a local folder, or a model of the hub",
      got,
      `check the spelling; if it is private, ${login}`,
    );
  return new HubError("E_HUB_NETWORK", what, "an answer of a hub", got, "check HF_ENDPOINT");
}
