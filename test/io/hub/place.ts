// What every test of the hub begins with: an empty cache, a model on a server of this machine, an environment that names both.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { HubError, type HubSettings, type ResolveOptions, resolveModel } from "../../../lib/io/hub.js";
import { FakeHub, type FakeModel, sha256 } from "./server.js";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";
export const weights = Buffer.alloc(700_000, "weights of a model that are large enough to be cut in two; ");
export const etag = sha256(weights);
export const model = (): FakeModel => ({
  commit: COMMIT,
  large: /\.safetensors$/,
  files: {
    "config.json": '{"model_type":"llama"}',
    "tokenizer.json": "{}",
    "model.safetensors": weights,
    "README.md": "# a model",
    "pytorch_model.bin": "pickle",
    "consolidated.safetensors": "the same again",
    "original/model.safetensors": "and again",
  },
});

const VARIABLES = ["HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "HF_HUB_DISABLE_SYMLINKS"];

export class Place {
  readonly home = mkdtempSync(join(tmpdir(), "anymal-hub-"));
  readonly cache = join(this.home, "hub");
  /** Attempts follow each other at once. */
  readonly quick: Partial<HubSettings> = { backoffMs: 1, timeoutMs: 2000 };
  readonly #before = Object.fromEntries(VARIABLES.map((name) => [name, process.env[name]]));
  private constructor(readonly hub: FakeHub) {
    for (const name of VARIABLES) delete process.env[name];
    process.env.HF_HOME = this.home;
    process.env.HF_ENDPOINT = hub.endpoint;
  }

  static async make(models: Record<string, FakeModel> = { "org/model": model() }): Promise<Place> {
    return new Place(await FakeHub.start(models));
  }

  snapshot(commit = COMMIT, id = "org/model"): string {
    return join(this.cache, `models--${id.replace("/", "--")}`, "snapshots", commit);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.stop();
    rmSync(this.home, { recursive: true });
    for (const [name, value] of Object.entries(this.#before))
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
  }
}

export const get = (place: Place, id = "org/model", options: ResolveOptions = {}) => resolveModel(id, { hub: place.quick, ...options });
export const blobs = (place: Place): string[] => readdirSync(join(place.cache, "models--org--model/blobs")).sort();
export const isDownload = ({ host, method }: { host: string; method: string }) => host === "storage" && method === "GET";

export async function refusal(promise: Promise<unknown>): Promise<HubError> {
  const error = await promise.then(
    () => undefined,
    (error) => error,
  );
  assert.instance(error, HubError, `a HubError, not ${error}`);
  return error as HubError;
}
