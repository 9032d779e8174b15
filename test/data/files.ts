// A folder for one test's data files.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { DataError, Row } from "../../lib/data/row.js";

export class Folder {
  readonly path = mkdtempSync(join(tmpdir(), "anymal-data-"));

  /** Its path. */
  write(name: string, content: string | Uint8Array): string {
    const path = join(this.path, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  }
  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Content in short: strings as they are, media as [modality:path within the folder]. */
export function brief(row: Row, folder: Folder): string[] {
  return row.turns.map(({ role, content }) => {
    const text = content.map((part) =>
      typeof part === "string" ? part : `[${part.modality}:${String(part.source).replace(`${folder.path}/`, "")}]`,
    );
    return `${role}: ${text.join("")}`;
  });
}

/** For assert.throws and rejections: the code, and words of the message. */
export const dataError =
  (code: "E_ROW" | "E_DATA", ...words: (string | RegExp)[]) =>
  (error: DataError): boolean => {
    const lacks = words.find((word) => (typeof word === "string" ? !error.message.includes(word) : !word.test(error.message)));
    if (error.code !== code || lacks)
      throw new Error(`expected ${code} with ${lacks ?? "these words"}, got ${error.code}: ${error.message}`);
    return true;
  };

export async function rejects(promise: Promise<unknown>, check: (error: DataError) => boolean): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (cause: DataError) => cause,
  );
  if (!error) throw new Error("expected a rejection, got a value");
  check(error);
}
