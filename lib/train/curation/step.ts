// What curation does with rows, as values: a step looks at some of them and says which go and which change.
import type { Fields } from "../../data/messages.js";
import type { Row } from "../../data/row.js";

export interface CurationItem {
  /** Its place in the file, counted from 1. */
  readonly number: number;
  /** As the file has it, under our names of columns. */
  readonly fields: Fields;
  readonly row: Row;
}
/** undefined: the row stays as it is. `drop` says why it goes, the same for all rows of that fault; `fields` are the row's from now on. */
export type CurationVerdict = { readonly drop: string } | { readonly fields: Fields } | undefined;

export interface CurationPlace {
  /** Where paths of the rows begin. */
  readonly root: string;
  readonly signal?: AbortSignal | undefined;
}

export interface CurationStep {
  /** What a report calls it. */
  readonly name: string;
  /** A verdict for each item, in their order; items come in the order of the file. */
  look(items: readonly CurationItem[], place: CurationPlace): Promise<readonly CurationVerdict[]>;
}
