// Content hashes of files, by place and by a mark that changes with the file: a data set is hashed once in a process.

/** Entries, a few hundred bytes each; a server that meets ever new files must not grow by them. */
const MOST = 2 ** 16;

export class KnownHashes {
  readonly #known = new Map<string, { mark: string; hash: string }>();
  constructor(private readonly most = MOST) {}

  /** Undefined where the file was not met, has changed since, or was met too long ago. */
  get(place: string, mark: string): string | undefined {
    const before = this.#known.get(place);
    return before?.mark === mark ? before.hash : undefined;
  }
  set(place: string, mark: string, hash: string): void {
    this.#known.delete(place); // the youngest come last
    this.#known.set(place, { mark, hash });
    for (const oldest of this.#known.keys()) {
      if (this.#known.size <= this.most) break;
      this.#known.delete(oldest);
    }
  }
}
