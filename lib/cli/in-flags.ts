// Messages of the library in the words of the command line.
import { MODALITIES } from "../anymal/options.js";
import { MEDIA_OPTIONS } from "../media/media-options.js";

export const MEDIA_FLAG = "--media-option";

/** Names, and a value where one is proposed. */
const PROPOSED = /\bthe options? (\w+)(?: (and|or) (\w+))?(?:: (\{[^{}]*\}|\[[^[\]]*\]|"[^"]*"|[\w.]+))?/g;

/** "the option maxGap: 5" → "--media-option imu.maxGap=5". Options that no medium has stay as they are. */
export function inFlags(text: string): string {
  return text.replace(
    PROPOSED,
    (whole: string, first: string, joint: string | undefined, second: string | undefined, value: string | undefined) => {
      const kinds = kindsOf(first);
      if (!kinds.length) return whole;
      const rest = joint === undefined ? "" : ` ${joint} ${kindsOf(second!).length ? flagOf(second!, undefined) : second}`;
      return `${flagOf(first, value)}${rest}`;
    },
  );
}

const kindsOf = (name: string): string[] => MODALITIES.filter((modality) => Object.hasOwn(MEDIA_OPTIONS[modality], name));

function flagOf(name: string, value: string | undefined): string {
  const kinds = kindsOf(name);
  const word = value === undefined ? "…" : value.replace(/^"(.*)"$/, "$1");
  const flag = `${kinds.length === 1 ? kinds[0] : "KIND"}.${name}=${word}`;
  const told = kinds.length === 1 ? "" : ` (KIND: ${kinds.join(", ")})`;
  return `${MEDIA_FLAG} ${/[\s{}[\]"]/.test(flag) ? `'${flag}'` : flag}${told}`;
}
