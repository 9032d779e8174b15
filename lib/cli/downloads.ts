// How a download from the hub looks: one line that is written over in a terminal, a line now and then elsewhere.
import { visible } from "../core/visible.js";
import type { DownloadProgress } from "../io/hub.js";

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(bytes < 1e8 ? 3 : 1);

export interface DownloadsOptions {
  /** Default: standard error, so that standard output stays clean for results. */
  stream?: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  /** Where lines are not written over: at least this many seconds between two. Default 10. */
  every?: number;
}

export class Downloads {
  readonly #stream: NonNullable<DownloadsOptions["stream"]>;
  readonly #every: number;
  #begun = { model: "", at: 0, bytes: 0 };
  #shown = 0;

  constructor({ stream = process.stderr, every = 10 }: DownloadsOptions = {}) {
    this.#stream = stream;
    this.#every = every;
  }

  readonly onProgress = (progress: DownloadProgress): void => {
    const { model, bytes, total } = progress;
    const now = performance.now();
    const first = this.#begun.model !== model;
    const last = bytes === total;
    if (first) this.#begun = { model, at: now, bytes };
    if (!first && !last && now - this.#shown < (this.#stream.isTTY ? 100 : this.#every * 1000)) return;
    this.#shown = now;
    const line = downloadLine(progress, (1000 * (bytes - this.#begun.bytes)) / Math.max(1, now - this.#begun.at));
    if (!this.#stream.isTTY) this.#stream.write(`${line}\n`);
    else this.#stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (this.#stream.columns ?? 80) - 1))}${last ? "\n" : ""}`);
    if (last) this.#begun = { model: "", at: 0, bytes: 0 };
  };
}

/** "fetching org/name · 1.2 of 13.5 GB · 85 MB/s · model-00001-of-00003.safetensors". */
export function downloadLine({ model, file, bytes, total }: DownloadProgress, perSecond: number): string {
  const parts = [`fetching ${model}`, `${gigabytes(bytes)}${total === undefined ? "" : ` of ${gigabytes(total)}`} GB`];
  if (perSecond >= 1e5) parts.push(`${(perSecond / 1e6).toFixed(1)} MB/s`);
  if (bytes !== total) parts.push(file);
  return visible(parts.join(" · "));
}
