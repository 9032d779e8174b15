// A folder for one test's data files.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
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

type Lists = readonly (readonly (string | null)[])[];
/** Parquet with a column for each name: texts, or lists of texts as pyarrow has them. */
export function parquetOf(columns: Readonly<Record<string, readonly (string | null)[] | Lists>>): Uint8Array {
  const isLists = (data: readonly unknown[]) => data.some(Array.isArray);
  const text = { type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" } as const;
  const schema: NonNullable<Parameters<typeof parquetWriteBuffer>[0]["schema"]> = [
    { name: "root", num_children: Object.keys(columns).length },
  ];
  for (const [name, data] of Object.entries(columns)) {
    if (!isLists(data)) schema.push({ name, ...text });
    else
      schema.push(
        { name, num_children: 1, converted_type: "LIST", repetition_type: "OPTIONAL" },
        { name: "list", num_children: 1, repetition_type: "REPEATED" },
        { name: "element", ...text },
      );
  }
  const columnData = Object.entries(columns).map(([name, data]) => ({ name, data: [...data] }));
  return new Uint8Array(parquetWriteBuffer({ schema, columnData }));
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
