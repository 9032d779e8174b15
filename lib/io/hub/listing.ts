// What a revision of a model is: its commit, and the files of it.
import { HubError } from "./error.js";
import { entryName, type HubId, isCommit, type Repository } from "./names.js";
import { ask, bodyOf, drop, unreachable } from "./request.js";
import type { HubSettings } from "./settings.js";

export interface Listing {
  commit: string;
  /** Bytes where the hub says so. */
  files: ReadonlyMap<string, number | undefined>;
}

/** Repositories have thousands of files at most. */
const MAX_BYTES = 64 << 20;

interface Sibling {
  rfilename?: unknown;
  size?: unknown;
}

/** Throws HubError. */
export async function listFiles(
  settings: HubSettings,
  { id, revision }: HubId,
  { signal, attempts, repository = "model" }: { signal?: AbortSignal | undefined; attempts?: number; repository?: Repository | undefined },
): Promise<Listing> {
  const what = revision === "main" ? id : `${id} at ${revision}`;
  const url = `${settings.endpoint}/api/${repository}s/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const wanted = "a local folder, or an answer of the hub";
  const question = { settings, what, wanted, url, signal, ...(attempts !== undefined && { attempts }) };
  const answer = await ask(question);
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const bytes of bodyOf(answer)) {
      text += decoder.decode(bytes, { stream: true });
      if (text.length > MAX_BYTES) throw new HubError("E_HUB_HOSTILE", what, "a list of files", "one without end", "check HF_ENDPOINT");
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof HubError ? error : unreachable(what, (error as Error).message, 1, { cause: error });
  } finally {
    drop(answer);
  }
  return parse(what, text);
}

function parse(what: string, text: string): Listing {
  let json: { sha?: unknown; siblings?: unknown };
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw unreachable(what, `something other than JSON (${text.slice(0, 60)})`, 1, { cause });
  }
  if (!isCommit(json?.sha) || !Array.isArray(json.siblings))
    throw unreachable(what, "an answer without sha and siblings, which is not a hub's", 1);
  const size = ({ size }: Sibling) => (typeof size === "number" && Number.isSafeInteger(size) && size >= 0 ? size : undefined);
  return { commit: json.sha, files: new Map((json.siblings as Sibling[]).map((file) => [entryName(what, file?.rfilename), size(file)])) };
}
