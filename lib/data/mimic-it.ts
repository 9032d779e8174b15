// MIMIC-IT (arXiv 2306.05425; Otter's mimic-it/README.md): instructions that name their pictures and related instructions by id, and the pictures base64 in a
// file of their own. Written as conversations that training reads: related instructions stand before their own, as examples in context.
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isObject, shown } from "../core/checks.js";
import { expected } from "../core/errors.js";
import { onFile } from "../core/file-error.js";
import { checkOptions, optionNames } from "../core/options.js";
import { Turns } from "../core/turns.js";
import { reasonOf } from "../media/error.js";
import { chunksOf, MAX_PIECE } from "./lines.js";
import { writeLines } from "./referential/write.js";
import { DataError } from "./row.js";

export interface MimicItOptions {
  /** Related instructions before a row's own at most, the first that it names. Default: all. */
  shots?: number;
  /** Is told of instructions that are left out; without it the first one ends the work. */
  onProblem?: ((problem: DataError) => void) | undefined;
  signal?: AbortSignal | undefined;
}
const OPTIONS = optionNames<MimicItOptions>({ shots: true, onProblem: true, signal: true });
/** Of a file of instructions: longer texts than this no JSON.parse takes. */
const LARGEST = 500 * 2 ** 20;

interface Instruction {
  instruction: string;
  answer: string;
  images: readonly string[];
  related: readonly string[];
}

/**
 * Writes rows.jsonl and images/ into the folder `output`: of `instructions` (LA_instructions.json: `data` by id) with pictures of `images` (LA.json: base64 by id).
 * Throws E_ROW, or tells, where an instruction lacks a text, names a picture or an instruction that is not there; E_DATA where a file is of another kind.
 */
export async function writeMimicIt(
  instructions: string,
  images: string,
  output: string,
  options: MimicItOptions = {},
): Promise<{ rows: number; pictures: number }> {
  checkOptions("writeMimicIt", options, OPTIONS);
  const { shots = Infinity, onProblem, signal } = options;
  if (!(shots === Infinity || (Number.isInteger(shots) && shots >= 0)))
    throw expected("E_VALUE", "writeMimicIt: shots", "an integer of 0 or more", shots);
  const all = await instructionsIn(instructions);
  const wanted = new Set([...all.values()].flatMap((one) => (one instanceof DataError ? [] : one.images)));
  const files = await pictures(images, join(output, "images"), wanted, signal);
  let rows = 0;
  await writeLines(join(output, "rows.jsonl"), async (add) => {
    const turns = new Turns();
    for (const [number, id] of [...all.keys()].entries()) {
      signal?.throwIfAborted();
      try {
        await add(rowOf(id, all, files, shots, (wantedThere, got) => wrong(instructions, number + 1, wantedThere, got)));
        ++rows;
      } catch (error) {
        if (!(error instanceof DataError && onProblem)) throw error;
        onProblem(error);
      }
      await turns.next();
    }
  });
  return { rows, pictures: files.size };
}

const wrong = (file: string, number: number, wanted: string, got: string): DataError =>
  new DataError("E_ROW", file, number, wanted, got, "leave the instruction out, or see its file");

type Wrong = (wanted: string, got: string) => DataError;

function rowOf(
  id: string,
  all: ReadonlyMap<string, Instruction | DataError>,
  files: ReadonlyMap<string, string>,
  shots: number,
  fail: Wrong,
) {
  const own = all.get(id) as Instruction | DataError;
  if (own instanceof DataError) throw own;
  const before = own.related.slice(0, shots).map((other) => {
    const found = all.get(other);
    if (found instanceof DataError) throw found;
    return found ?? raise(fail("related instructions that are there", shown(other)));
  });
  const chain = [...before, own];
  const shownIn = chain.flatMap(({ images }) =>
    images.map((one) => files.get(one) ?? raise(fail("pictures that are in the pictures' file", shown(one)))),
  );
  const conversations = chain.flatMap(({ instruction, answer, images }) => [
    { from: "human", value: `${"<image>".repeat(images.length)}${instruction}` },
    { from: "gpt", value: answer },
  ]);
  return { id, ...(shownIn.length && { images: shownIn }), conversations };
}
function raise(error: Error): never {
  throw error;
}

async function instructionsIn(path: string): Promise<Map<string, Instruction | DataError>> {
  const refuse = (wanted: string, got: string) =>
    new DataError("E_DATA", path, undefined, wanted, got, "pass MIMIC-IT's file of instructions");
  const { size } = await onFile("to be read", path, () => stat(path));
  if (size > LARGEST) throw refuse(`at most ${LARGEST} bytes`, String(size));
  let json: unknown;
  try {
    json = JSON.parse(await onFile("to be read", path, () => readFile(path, "utf8")));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw refuse("one JSON object", reasonOf(cause));
  }
  const data = isObject(json) ? json.data : undefined;
  if (!isObject(data)) throw refuse("{ data: { id: { instruction, answer, … } } }", shown(json));
  const ids = (value: unknown) => (Array.isArray(value) && value.every((one) => typeof one === "string") ? value : undefined);
  // Marks stand where the rows put them.
  const unmarked = (text: string) => text.replaceAll("<image>", "");
  return new Map(
    Object.entries(data).map(([id, one], i): [string, Instruction | DataError] => {
      const { instruction, answer, image_ids: pictured = [], rel_ins_ids: related = [] } = isObject(one) ? one : {};
      if (typeof instruction !== "string" || typeof answer !== "string" || !answer.trim())
        return [id, wrong(path, i + 1, "an instruction and an answer", shown(one))];
      const [images, others] = [ids(pictured), ids(related)];
      if (!images || !others)
        return [id, wrong(path, i + 1, "image_ids and rel_ins_ids as lists of ids", shown(images ? related : pictured))];
      return [id, { instruction: unmarked(instruction), answer: unmarked(answer), images, related: others }];
    }),
  );
}

/** Writes those that are wanted as numbered files: ids may be names that no file system takes. Gives each one's path beside the rows. */
async function pictures(path: string, folder: string, wanted: ReadonlySet<string>, signal?: AbortSignal): Promise<Map<string, string>> {
  await onFile("to be written", folder, () => mkdir(folder, { recursive: true }));
  const files = new Map<string, string>();
  for await (const [id, text] of texts(path, signal)) {
    if (!wanted.has(id) || files.has(id)) continue;
    const bytes = Buffer.from(text.replace(/^data:[^,]*,/, ""), "base64");
    if (!bytes.length) continue; // who names it is told
    const name = `${String(files.size).padStart(7, "0")}.${bytes[0] === 0x89 ? "png" : "jpg"}`;
    await onFile("to be written", join(folder, name), () => writeFile(join(folder, name), bytes));
    files.set(id, `images/${name}`);
  }
  return files;
}

const [QUOTE, BACKSLASH] = [34, 92];
/** Keys and texts of an object of texts, however long the file is. */
async function* texts(path: string, signal?: AbortSignal): AsyncGenerator<[string, string]> {
  let [inside, escaped, size] = [false, false, 0];
  let held: Uint8Array[] = [];
  let key: string | undefined;
  for await (const chunk of chunksOf(path, signal)) {
    let from = 0;
    const hold = (to: number) => {
      size += to - from;
      if (size <= MAX_PIECE) held.push(Uint8Array.from(chunk.subarray(from, to)));
    };
    for (let at = 0; at < chunk.length; ++at) {
      const byte = chunk[at] as number;
      if (!inside) {
        if (byte !== QUOTE) continue;
        [inside, from] = [true, at + 1];
      } else if (escaped) escaped = false;
      else if (byte === BACKSLASH) escaped = true;
      else if (byte === QUOTE) {
        hold(at);
        const text = parsed(path, Buffer.concat(held).toString("utf8"));
        [inside, held, size] = [false, [], 0];
        if (key === undefined) key = text;
        else {
          yield [key, text];
          key = undefined;
        }
      }
    }
    if (inside) hold(chunk.length);
  }
  if (inside || key !== undefined)
    throw new DataError("E_DATA", path, undefined, "an object of texts, pictures by id", "one that ends within a text", "fetch it again");
}

function parsed(path: string, text: string): string {
  try {
    return JSON.parse(`"${text}"`);
  } catch (cause) {
    throw new DataError("E_DATA", path, undefined, "texts as JSON writes them", reasonOf(cause), "fetch it again");
  }
}
