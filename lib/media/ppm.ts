// Binary PPM pictures, one after the other from a pipe.
import { MediaError } from "./error.js";
import { checkArea, type Pixels } from "./image.js";

const HEADER = /^P6\s+(\d{1,9})\s+(\d{1,9})\s+255\s/;
const HEADER_LIMIT = 64;

export class PpmReader {
  readonly pictures: Pixels[] = [];
  #head = "";
  #current: { width: number; height: number; data: Uint8Array; done: number } | undefined;

  constructor(
    readonly what: string,
    readonly maxPixels: number,
    readonly count: number,
  ) {}

  /** True once all pictures are whole. */
  take(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length && this.pictures.length < this.count; )
      at += this.#current ? this.#pixels(chunk, at) : this.#header(chunk, at);
    return this.pictures.length === this.count;
  }

  /** Each returns how many bytes it used. */
  #header(chunk: Uint8Array, at: number): number {
    const had = this.#head.length;
    this.#head += Buffer.from(chunk.subarray(at, at + HEADER_LIMIT - had)).toString("latin1");
    const match = HEADER.exec(this.#head);
    if (!match) {
      if (this.#head.length >= HEADER_LIMIT)
        throw new MediaError("E_MEDIA_FORMAT", this.what, "pictures from ffmpeg", "other bytes", "check the ffmpeg command");
      return chunk.length - at;
    }
    const [width, height] = [Number(match[1]), Number(match[2])];
    checkArea(this.what, width, height, this.maxPixels);
    this.#current = { width, height, data: new Uint8Array(width * height * 3), done: 0 };
    this.#head = "";
    return match[0].length - had;
  }

  #pixels(chunk: Uint8Array, at: number): number {
    const { width, height, data, done } = this.#current!;
    const part = chunk.subarray(at, at + data.length - done);
    data.set(part, done);
    this.#current!.done += part.length;
    if (this.#current!.done === data.length) {
      this.pictures.push({ data, width, height });
      this.#current = undefined;
    }
    return part.length;
  }
}
