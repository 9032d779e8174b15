// What the options of media have in common: how each is checked as data, and that an unknown one says so.
import { type Check, is, type Schema } from "../core/checks.js";
import { checkOptions } from "../core/options.js";
import { MediaError } from "./error.js";

/** A check of every option that data can hold: all but functions, which only a script can give. */
export type AsData<T> = Record<Exclude<keyof T, "onNotice">, Check>;

export const above: Check = { wanted: "a number above 0", fits: (v) => typeof v === "number" && v > 0 };
export const WINDOW = { start: is.number(0), seconds: above } as const satisfies Schema;
/** How much is read at most. */
export const LIMITS = { maxBytes: above, maxSeconds: above, maxPixels: above, maxFrames: above, maxSamples: above } as const;

/** Throws E_MEDIA_OPTION on an option that media of the kind do not have. `what`: the call, or the medium. */
export function checkKnown(what: string, schema: Schema, options: object, functions: readonly string[] = []): void {
  const fail = (key: string, next: string) => new MediaError("E_MEDIA_OPTION", what, "options that are known", `"${key}"`, next);
  checkOptions(what, options, [...Object.keys(schema), ...functions], { fail });
}

/** What a row of data may not say: which program runs, and, where rows are not trusted, how much is read. */
export const isForbidden = (name: string, confined: boolean): boolean =>
  name === "ffmpeg" || name === "ffprobe" || (confined && Object.hasOwn(LIMITS, name));
