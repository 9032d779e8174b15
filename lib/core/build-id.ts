// Which anymal this is: the package's version and the addon's bytes, since two builds may round differently.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { addonFile, packageVersion } from "./native.js";

export interface BuildId {
  version: string;
  /** Of the addon's file. */
  addon: string;
}
let known: BuildId | undefined;

/** Of the one that is loaded. Throws E_LOAD where there is none. */
export function buildId(): BuildId {
  known ??= { version: packageVersion(), addon: createHash("sha256").update(readFileSync(addonFile())).digest("hex").slice(0, 16) };
  return known;
}
