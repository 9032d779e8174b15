// What the media tests share: the error every bad input must give, and folders of generated files.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { MediaError } from "../../lib/media/error.js";

/** The promise rejects with a MediaError of that code whose fields are filled in and whose message holds `words`. */
export async function rejects(promise: Promise<unknown>, code: string, ...words: RegExp[]): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!(error instanceof MediaError)) throw new Error(`expected a MediaError ${code}, got ${error}`);
  assert.is(error.code, code, error.message);
  for (const field of ["source", "expected", "got", "remedy"] as const) assert.ok(error[field], `${field} is empty: ${error.message}`);
  for (const word of words) assert.match(error.message, word);
}

export function temporaryFolder(): { path: string; file: (name: string) => string; [Symbol.dispose]: () => void } {
  const path = mkdtempSync(join(tmpdir(), "anymal-media-"));
  return { path, file: (name) => join(path, name), [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}
