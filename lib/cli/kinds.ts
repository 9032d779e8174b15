// The kinds of media that this command line knows.
import { BUILT_IN, type Kinds, listed } from "../media/kinds/index.js";

export const kinds = (): Kinds => BUILT_IN;

/** "<image>, <video>, <audio> and <imu>" */
export const marksTold = (inside = "", joint = "and"): string =>
  listed(
    Array.from(kinds().keys(), (name) => `<${name}${inside}>`),
    joint,
  );
