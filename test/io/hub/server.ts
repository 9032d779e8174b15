// A hub on this machine for tests: the answers of huggingface.co to the requests of lib/io/hub, with every trouble one asks for. A second server
// plays the storage on another host to which large files are redirected.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

export interface FakeModel {
  commit: string;
  files: Record<string, string | Uint8Array>;
  /** Names that stand behind the commit. Default main. */
  revisions?: string[];
  /** Names of files that are kept on the other host and named by sha256, as git-lfs files are. */
  large?: RegExp;
}

export interface Seen {
  host: "hub" | "storage";
  method: string;
  path: string;
  range: string | undefined;
  authorization: string | undefined;
}

/** Takes over a request of the hub or the storage by returning true. */
export type Trouble = (seen: Seen, response: ServerResponse, content: Buffer | undefined) => boolean | Promise<boolean>;

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");
export const gitHash = (bytes: Buffer): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

export class FakeHub {
  readonly seen: Seen[] = [];
  readonly models: Record<string, FakeModel>;
  trouble: Trouble = () => false;
  readonly #servers: Server[] = [];
  #hub = "";
  #storage = "";

  private constructor(models: Record<string, FakeModel>) {
    this.models = models;
  }

  static async start(models: Record<string, FakeModel>): Promise<FakeHub> {
    const hub = new FakeHub(models);
    hub.#hub = await hub.#listen("hub", (seen, response) => hub.#answer(seen, response));
    hub.#storage = await hub.#listen("storage", (seen, response) => hub.#store(seen, response));
    return hub;
  }

  get endpoint(): string {
    return this.#hub;
  }
  /** Requests so far, as "METHOD path". */
  get log(): string[] {
    return this.seen.map(({ method, path }) => `${method} ${path}`);
  }

  async stop(): Promise<void> {
    for (const server of this.#servers.splice(0)) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  async #listen(host: Seen["host"], answer: (seen: Seen, response: ServerResponse) => boolean): Promise<string> {
    const server = createServer(async (request: IncomingMessage, response) => {
      const { range, authorization } = request.headers;
      const seen: Seen = { host, method: request.method ?? "", path: decodeURIComponent(request.url ?? ""), range, authorization };
      this.seen.push(seen);
      if (!(await this.trouble(seen, response, this.#content(seen)))) answer(seen, response);
    });
    this.#servers.push(server);
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #content({ host, path }: Seen): Buffer | undefined {
    const found = host === "hub" ? this.#find(path) : undefined;
    if (found) return found.content;
    for (const { files } of Object.values(this.models))
      for (const file of Object.values(files)) if (path === `/${sha256(file)}`) return Buffer.from(file);
    return undefined;
  }

  #find(path: string): { model: FakeModel; name: string; content: Buffer | undefined } | undefined {
    const match = /^\/(.+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const model = match && this.models[match[1]!];
    if (!model || !isOf(model, match[2]!)) return undefined;
    const file = model.files[match[3]!];
    return { model, name: match[3]!, content: file === undefined ? undefined : Buffer.from(file) };
  }

  #answer(seen: Seen, response: ServerResponse): boolean {
    // Data sets stand in the table with "datasets/" before their ids, as in the addresses of their files.
    const api = /^\/api\/(?:models\/)?((?:datasets\/)?.+)\/revision\/([^?]+)\?blobs=true$/.exec(seen.path);
    if (api) return this.#list(api[1]!, api[2]!, response);
    const found = this.#find(seen.path);
    if (!found) return refuse(response, 404, "RepoNotFound");
    const { model, name, content } = found;
    response.setHeader("X-Repo-Commit", model.commit);
    if (!content) return refuse(response, 404, "EntryNotFound");
    if (model.large?.test(name)) {
      response.writeHead(302, {
        location: `${this.#storage}/${sha256(content)}`,
        "x-linked-etag": `"${sha256(content)}"`,
        "x-linked-size": content.length,
      });
      response.end();
      return true;
    }
    response.setHeader("ETag", `"${gitHash(content)}"`);
    return send(seen, response, content);
  }

  #list(id: string, revision: string, response: ServerResponse): boolean {
    const model = this.models[id];
    if (!model) return refuse(response, 404, "RepoNotFound");
    if (!isOf(model, revision)) return refuse(response, 404, "RevisionNotFound");
    const siblings = Object.entries(model.files).map(([rfilename, file]) => ({ rfilename, size: Buffer.from(file).length }));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ id, sha: model.commit, siblings }));
    return true;
  }

  #store(seen: Seen, response: ServerResponse): boolean {
    const content = this.#content(seen);
    if (!content) return refuse(response, 404, "");
    return send(seen, response, content);
  }
}

const isOf = ({ commit, revisions = ["main"] }: FakeModel, revision: string): boolean =>
  revision === commit || revisions.includes(revision);

export function refuse(response: ServerResponse, status: number, code: string): true {
  response.writeHead(status, { ...(code && { "x-error-code": code, "x-error-message": `told by the test: ${code}` }) });
  response.end();
  return true;
}

export function send({ method, range }: Seen, response: ServerResponse, content: Buffer): true {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0);
  if (range && from >= content.length) return refuse(response, 416, "");
  response.writeHead(range ? 206 : 200, {
    "content-length": content.length - from,
    ...(range && { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` }),
  });
  response.end(method === "HEAD" ? undefined : content.subarray(from));
  return true;
}

/** A local folder as a model of the hub, its weights on the other host. */
export function modelOf(folder: string, commit: string): FakeModel {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => statSync(join(folder, name)).isFile());
  return { commit, large: /\.safetensors$/, files: Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name))])) };
}
