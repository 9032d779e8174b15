// Animated GIF and WebP as clips; a still picture is a clip of one frame.
import { type Clip, checkFrames, evenTimeline, timelineOf } from "./clip.js";
import { MediaError } from "./error.js";
import { checkArea, decodeFrame, imageHeader, type Pixels } from "./image.js";

/** The kinds of pictures that are read here, by their first bytes. An animated PNG is not: the decoder sees its first frame only. */
export function isPicture(head: Uint8Array): boolean {
  const text = Buffer.from(head).toString("latin1");
  if (/^(GIF8|\xff\xd8\xff)/.test(text) || /^RIFF....WEBP/s.test(text)) return true;
  return text.startsWith("\x89PNG") && !/acTL/.test(text);
}

/** Browsers show a frame that asks for 10 ms or less for 100; so it is here. */
const shownFor = (delay: number) => (delay <= 10 ? 100 : delay);

/** A frame builds on those before it, which are decoded for each that is picked: so many of the largest size in all. */
const PAGES = 250;

export async function openAnimation(
  bytes: Uint8Array,
  what: string,
  { maxPixels, maxFrames }: { maxPixels: number; maxFrames: number },
  rate: number | undefined,
): Promise<Clip> {
  const header = await imageHeader(bytes, what);
  checkArea(what, header.width ?? 0, header.pageHeight ?? header.height ?? 0, maxPixels);
  const area = (header.width ?? 0) * (header.pageHeight ?? header.height ?? 0);
  const count = header.pages ?? 1;
  checkFrames(count, maxFrames, what);
  if (header.format === "gif" && !isWholeGif(bytes))
    throw new MediaError("E_MEDIA_FORMAT", what, "a whole GIF", `a file that was cut after ${count} frames`, "make or copy it again");
  const delays = header.delay;
  return {
    timeline: count > 1 && delays?.length === count ? timelineOf(delays.map(shownFor), 1000) : evenTimeline(count, rate),
    hasSound: false,
    checkPicks: (indices) => {
      if (indices.reduce((sum, page) => sum + page + 1, 0) * area <= PAGES * maxPixels) return;
      throw new MediaError(
        "E_MEDIA_LIMIT",
        what,
        `at most ${PAGES * maxPixels} pixels in the frames up to those that are picked`,
        "more",
        "take its beginning with the option seconds, or raise the option maxPixels if you trust it",
      );
    },
    decode: async (indices, { signal }) => {
      const pictures: Pixels[] = [];
      for (const page of indices) {
        signal?.throwIfAborted();
        pictures.push(await decodeFrame(bytes, what, page, { maxPixels }));
      }
      return pictures;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Whether the blocks lead to the trailer. The decoder takes a GIF that was cut for a shorter one. */
function isWholeGif(bytes: Uint8Array): boolean {
  const table = (flags: number) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + table(bytes[10]!);
  const skipSubBlocks = () => {
    while (bytes[at]) at += bytes[at]! + 1;
    ++at;
  };
  while (at < bytes.length) {
    const kind = bytes[at];
    if (kind === 0x3b) return true;
    if (kind === 0) {
      ++at; // padding that some programs write
      continue;
    }
    if (kind === 0x21) at += 2;
    else if (kind === 0x2c) at += 11 + table(bytes[at + 9]!);
    else return false;
    skipSubBlocks();
  }
  return false;
}
