// The kinds of media that are here from the start. Whoever needs their names, options or files asks these values: there is no other list of them.
import { audioKind } from "./audio.js";
import { imageKind } from "./image.js";
import { imuKind } from "./imu.js";
import type { Kind } from "./kind.js";
import { videoKind } from "./video.js";

export type { AnyPart, Kind } from "./kind.js";

/** In the order in which a row's media of several kinds follow its text. */
export const KINDS = { image: imageKind, video: videoKind, audio: audioKind, imu: imuKind } as const;

export const MODALITIES = Object.keys(KINDS) as readonly (keyof typeof KINDS)[];

/** Those that one call knows, by name. */
export type Kinds = ReadonlyMap<string, Kind>;

export const BUILT_IN: Kinds = new Map(Object.entries<Kind>(KINDS));

/** "image, video, audio or imu" */
export function listed(kinds: Iterable<string>, joint = "or"): string {
  const names = [...kinds];
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} ${joint} ${names.at(-1)}` : names.join("");
}
