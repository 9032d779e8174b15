// What a search remembers of each place of a text: which ways on from there are known to fail, or to hold. In blocks, which are made where the search
// comes by and taken back where it will not come again.
import { PatternFault } from "./tree.js";

export const Way = { Unknown: 0, Fails: 1, Holds: 2 } as const;

const PLACES = 64;
const MOST_BYTES = 1 << 26;
export const TOO_FAR = "it looks too far ahead, or back";

export class Memory {
  #blocks: (Uint8Array | undefined)[] = [];
  #free: Uint8Array[] = [];
  #made = 0;
  #forgotten = 0;
  #at = -1;
  #block: Uint8Array = new Uint8Array(0);

  constructor(private readonly each: number) {}

  get(place: number, way: number): number {
    return this.#of(place)[(place % PLACES) * this.each + way] as number;
  }
  set(place: number, way: number, value: number): void {
    this.#of(place)[(place % PLACES) * this.each + way] = value;
  }

  #of(place: number): Uint8Array {
    const at = (place / PLACES) | 0;
    if (at === this.#at) return this.#block;
    this.#at = at;
    this.#block = this.#blocks[at] ??= this.#fresh();
    return this.#block;
  }

  #fresh(): Uint8Array {
    const old = this.#free.pop();
    if (old) return old.fill(0);
    this.#made += PLACES * this.each;
    if (this.#made > MOST_BYTES) throw new PatternFault(TOO_FAR);
    return new Uint8Array(PLACES * this.each);
  }

  /** Nothing before `place` is asked for again, but by what looks back. */
  forget(place: number): void {
    const at = (place / PLACES) | 0;
    for (let i = this.#forgotten; i < at; ++i) {
      const block = this.#blocks[i];
      if (block) this.#free.push(block);
      this.#blocks[i] = undefined;
    }
    if (at > this.#forgotten) this.#at = -1;
    this.#forgotten = Math.max(this.#forgotten, at);
  }
}
