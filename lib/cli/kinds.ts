// The kinds of media that this command line knows: those that are here, and the user's own, from the files that --kinds names.
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { reasonOf } from "../media/error.js";
import { BUILT_IN, type Kinds, kindsWith, listed, type OwnKinds } from "../media/kinds/index.js";
import { isMediaKind } from "../media/kinds/own.js";
import { UsageError } from "./usage-error.js";

export const KINDS_FLAG = "--kinds";

let known: Kinds = BUILT_IN;
let own: OwnKinds = [];

export const kinds = (): Kinds => known;
export const ownKinds = (): OwnKinds => own;

/** Before commands are made, since each kind has a flag of its own: what the files named on the command line export. */
export async function loadKinds(argv: readonly string[]): Promise<void> {
  const files = argv.flatMap((word, i) => {
    if (word.startsWith(`${KINDS_FLAG}=`)) return [word.slice(KINDS_FLAG.length + 1)];
    return word === KINDS_FLAG && argv[i + 1] !== undefined ? [argv[i + 1] as string] : [];
  });
  const found: OwnKinds[number][] = [];
  for (const file of files) {
    if (!existsSync(file)) throw wrong(file, "no such file");
    const module = await import(pathToFileURL(resolve(file)).href).catch((cause) => {
      throw wrong(file, reasonOf(cause));
    });
    const here = Object.values(module).filter(isMediaKind);
    if (!here.length) throw wrong(file, "it exports none");
    found.push(...here);
  }
  known = kindsWith(found);
  own = found;
}

const wrong = (file: string, got: string) =>
  new UsageError("anymal", `${KINDS_FLAG} ${file}: expected a module that exports what mediaKind() has made, got: ${got}`);

/** "<image>, <video>, <audio> and <imu>" */
export const marksTold = (inside = "", joint = "and"): string =>
  listed(
    Array.from(kinds().keys(), (name) => `<${name}${inside}>`),
    joint,
  );
