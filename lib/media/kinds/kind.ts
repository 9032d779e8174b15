// What a kind of media is to the library, as one value: all that readers of data, prompts, recipes, commands and controls need to know of it. No
// encoder and no projection: what a system puts behind a kind is the system's.
import type { Schema } from "../../core/checks.js";
import type { Preview } from "../preview.js";
import type { Loading } from "../source.js";

/** A medium of whatever kind. */
export interface AnyPart {
  readonly modality: string;
  readonly source: unknown;
  readonly options: object;
}

export interface Kind<P extends AnyPart = AnyPart> {
  /** In marks, columns, options and files: <image>, {"image": …}, projectors/image.safetensors. */
  readonly name: P["modality"];
  /** What one is, as the help of a command says it: "a picture". */
  readonly about: string;
  /** The options of its parts as data. */
  readonly options: Schema;
  /** Those that only a script can give. */
  readonly functions?: readonly string[];
  /** May a folder be one medium? */
  readonly folder: boolean;
  /** May a list of files be one medium? */
  readonly list?: boolean;
  /** Every file that is read for a source, where those beside it may be too. */
  readonly files?: (source: unknown) => Promise<readonly string[]>;
  /** The kind of its pieces: an encoder of those takes it piece by piece. */
  readonly framesOf?: string;
  /** Has it two sides that may be padded to a square? */
  readonly square?: boolean;
  /** What a row of captions is asked with. */
  readonly captionPrompts: readonly string[];
  /** Of what a row or a command line names. */
  part(source: unknown, options: object): P;
  /** What an encoder of the user's own is given for a part, where a kind has one form for all. */
  load?(part: P, loading: Loading): Promise<unknown>;
  /** Of the user's own, where the kind brings one. */
  readonly encoder?: object | undefined;
  /** What a page shows of one. Default: its name alone. */
  preview?(part: P, loading: Loading): Promise<Preview>;
  /** As large or as long as `part`, with nothing in it. */
  blank(part: P, loading: Loading): Promise<P>;
}
