// What a user should hear of although nothing has failed: through process.emitWarning, with a code that docs/errors.md lists.
import { bounded, visible } from "./visible.js";

const said = new Set<string>();
/** Sentences remembered; a server that meets ever new files must not grow by them. */
const MOST = 1024;

/** Once for each sentence. */
export function notice(code: string, message: string): void {
  const key = `${code} ${bounded(message)}`;
  if (said.has(key)) return;
  if (said.size < MOST) said.add(key);
  warn(code, message);
}

/** As often as it is called. Node prints a warning as it is. */
export function warn(code: string, message: string): void {
  process.emitWarning(visible(bounded(message)), { code });
}
