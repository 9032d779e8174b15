// What a user should hear of although nothing has failed: through process.emitWarning, with a code that docs/errors.md lists, once for each sentence.
const said = new Set<string>();
/** Sentences remembered; a server that meets ever new files must not grow by them. */
const MOST = 1024;

export function notice(code: string, message: string): void {
  const key = `${code} ${message}`;
  if (said.has(key)) return;
  if (said.size < MOST) said.add(key);
  process.emitWarning(message, { code });
}
