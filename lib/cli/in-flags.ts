// Messages of the library in the words of the command line.
import { kinds } from "./kinds.js";

export const MEDIA_FLAG = "--media-option";

/** Names, and a value where one is proposed. */
const PROPOSED = /\bthe options? (\w+)(?: (and|or) (\w+))?(?:: (\{[^{}]*\}|\[[^[\]]*\]|"[^"]*"|[\w.]+))?/g;

/** "the option maxGap: 5" → "--media-option imu.maxGap=5". Options that no medium has stay as they are. */
export function inFlags(text: string): string {
  return text.replace(
    PROPOSED,
    (whole: string, first: string, joint: string | undefined, second: string | undefined, value: string | undefined) => {
      if (!kindsOf(first).length) return whole;
      const rest = joint === undefined ? "" : ` ${joint} ${kindsOf(second!).length ? flagOf(second!, undefined) : second}`;
      return `${flagOf(first, value)}${rest}`;
    },
  );
}

const kindsOf = (name: string): string[] =>
  [...kinds().values()].filter(({ options }) => Object.hasOwn(options, name)).map((kind) => kind.name);

function flagOf(name: string, value: string | undefined): string {
  const having = kindsOf(name);
  const word = value === undefined ? "…" : value.replace(/^"(.*)"$/, "$1");
  const flag = `${having.length === 1 ? having[0] : "KIND"}.${name}=${word}`;
  const told = having.length === 1 ? "" : ` (KIND: ${having.join(", ")})`;
  return `${MEDIA_FLAG} ${/[\s{}[\]"]/.test(flag) ? `'${flag}'` : flag}${told}`;
}
