// Where the rows of a training came from: the files that were opened, and the commits behind ids of the hub.
import type { FoundData } from "../data/open-rows.js";

export class DataFound {
  readonly files: string[] = [];
  readonly #commits = new Map<string, string>();

  readonly note = ({ named, files, commit }: FoundData): void => {
    this.files.push(...files);
    if (commit !== undefined) this.#commits.set(named, commit);
  };

  /** An id of the hub with the commit that was used; a path as it is. */
  readonly pinned = (named: string): string => {
    const commit = this.#commits.get(named);
    return commit === undefined ? named : `${named.replace(/@.*$/s, "")}@${commit}`;
  };
}
