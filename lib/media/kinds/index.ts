// The kinds of media that are here from the start, and what one call knows of them: these, and the user's own. Whoever needs names, options or files
// asks these values: there is no other list of them.
import { nearest, shown } from "../../core/checks.js";
import { expected } from "../../core/errors.js";
import { audioKind } from "./audio.js";
import { imageKind } from "./image.js";
import { imuKind } from "./imu.js";
import type { AnyPart, Kind } from "./kind.js";
import { isMediaKind, type MediaKind } from "./own.js";
import { videoKind } from "./video.js";

export type { AnyPart, Kind } from "./kind.js";
export type { MediaKind, OwnEncoder, OwnPart } from "./own.js";

/** In the order in which a row's media of several kinds follow its text. */
export const KINDS = { image: imageKind, video: videoKind, audio: audioKind, imu: imuKind } as const;

/** By their names. */
export type BuiltIn = keyof typeof KINDS;
export const MODALITIES = Object.keys(KINDS) as readonly BuiltIn[];

/** Those that one call knows, by name. */
export type Kinds = ReadonlyMap<string, Kind>;
// biome-ignore lint/suspicious/noExplicitAny: of whatever their files hold
export type OwnKinds = readonly MediaKind<any>[];

export const BUILT_IN: Kinds = new Map(Object.entries<Kind>(KINDS));

/** Those that are here, then the user's own. Throws E_MODALITY on what is none, and on a name that stands twice. */
export function kindsWith(own: OwnKinds = []): Kinds {
  if (!own.length) return BUILT_IN;
  const all = new Map(BUILT_IN);
  for (const kind of own) {
    if (!isMediaKind(kind)) throw expected("E_MODALITY", "kinds", "what mediaKind() has made", shown(kind), "make it with mediaKind()");
    if (all.has(kind.name)) throw expected("E_MODALITY", "kinds", "each name once", `a second "${kind.name}"`, "give yours another name");
    all.set(kind.name, kind);
  }
  return all;
}

/** Of a part that a kind has made; undefined of anything else. */
export const kindOf = (part: AnyPart): Kind | undefined => BUILT_IN.get(part.modality) ?? (part as Partial<Record<"kind", Kind>>).kind;

/** What to do about a name that is no kind's. */
export function unknownKind(name: string, kinds: Kinds): string {
  const near = nearest(name, [...kinds.keys()]);
  return near ? `did you mean "${near}"?` : "pass a kind of your own as kinds: [kind], see mediaKind()";
}

/** "image, video, audio or imu" */
export function listed(kinds: Iterable<string>, joint = "or"): string {
  const names = [...kinds];
  return names.length > 1 ? `${names.slice(0, -1).join(", ")} ${joint} ${names.at(-1)}` : names.join("");
}
