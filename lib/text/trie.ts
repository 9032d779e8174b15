// Many texts looked for at a place of another one together: a place costs the characters that agree, however many texts begin with them.
import { TokenizerError } from "./tokenizer-error.js";

interface Node<T> {
  next?: Map<string, Node<T>>;
  value?: T;
}

/** Characters, of which those of common beginnings count once. Tokens of pictures and sounds are 65 536 and more in number, and begin alike. */
const MOST_NODES = 1 << 20;
/** Characters that may be looked at, and for each of the text: without a word that is repeated, one or two. */
const FREE = 1 << 20;
const OF_ONE = 256;

export class Trie<T> {
  readonly #root: Node<T> = {};

  /** How many nodes were made. Of a text that comes twice, the first value counts. */
  add(text: string, value: T): number {
    let [node, made] = [this.#root, 0];
    for (const unit of text.split("")) {
      node.next ??= new Map();
      let next = node.next.get(unit);
      if (!next) {
        next = {};
        node.next.set(unit, next);
        ++made;
      }
      node = next;
    }
    node.value ??= value;
    return made;
  }

  /** The longest text at a place, where it ends, and how many characters were looked at. */
  longest(text: string, from: number): { value: T | undefined; to: number; looked: number } {
    let [value, end]: [T | undefined, number] = [undefined, from];
    let node = this.#root.next?.get(text[from] as string);
    let to = from + 1;
    for (; node; node = node.next?.get(text[to++] as string)) if (node.value !== undefined) [value, end] = [node.value, to];
    return { value, to: end, looked: to - from };
  }
}

/** Throws E_TOKENIZER where `what`, in tries of so many nodes in all, would take too much memory. */
export function checkNodes(nodes: number, what: string): void {
  if (nodes > MOST_NODES) throw new TokenizerError(`expected ${what} of at most ${MOST_NODES} characters in all, got more`);
}

/** Throws E_TOKENIZER where so many characters were looked at for a text of `length`, as hardly any text asks for. */
export function checkLooked(looked: number, length: number, what: string): void {
  if (looked > FREE + OF_ONE * length)
    throw new TokenizerError(`expected ${what} that are told apart by their beginnings, got some that overlap too often in this text`);
}
