// The libraries that decode pictures and compressed sounds. They bring binaries of their own, which `npm install --omit=optional`, another platform
// or a bundler may have left out: so they are loaded by the call that needs them, and only that call fails.
import { createRequire } from "node:module";
import type AudioDecode from "audio-decode";
import type Sharp from "sharp";
import { MediaError, reasonOf } from "./error.js";

/** Found by `require` where there is one for it (Jest has no other way), else by `import`. */
const require = createRequire(import.meta.url);

let sharp: typeof Sharp | undefined;
let decode: typeof AudioDecode | undefined;

/** What decodes `what`. Throws E_MEDIA_TOOL with the command that mends it. */
export function sharpFor(what: string): typeof Sharp {
  try {
    sharp ??= require("sharp") as typeof Sharp;
    return sharp;
  } catch (cause) {
    throw missing(what, "sharp, which decodes pictures", "npm install --include=optional sharp", cause);
  }
}

export async function audioDecodeFor(what: string): Promise<typeof AudioDecode> {
  try {
    decode ??= (await import("audio-decode")).default;
    return decode;
  } catch (cause) {
    throw missing(what, "audio-decode, which decodes compressed sounds", "npm install audio-decode", cause);
  }
}

/** Where @napi-rs/webcodecs lies, which decodes films in a process of its own; undefined where nobody has installed it. */
export function webcodecsPath(): string | undefined {
  try {
    return require.resolve("@napi-rs/webcodecs");
  } catch {
    return undefined;
  }
}

/** Whether an error says that a package, or a file of it, is not there. */
export const isMissing = (error: unknown): boolean =>
  ["ERR_MODULE_NOT_FOUND", "MODULE_NOT_FOUND", "ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG"].includes(
    (error as NodeJS.ErrnoException | undefined)?.code ?? "",
  );

export function missing(what: string, wanted: string, command: string, cause: unknown): MediaError {
  const inJest = (cause as NodeJS.ErrnoException | undefined)?.code === "ERR_VM_DYNAMIC_IMPORT_CALLBACK_MISSING_FLAG";
  const remedy = inJest ? "run Jest with NODE_OPTIONS=--experimental-vm-modules" : `install it: ${command}`;
  return new MediaError("E_MEDIA_TOOL", what, wanted, `no such library that loads (${reasonOf(cause)})`, remedy, { cause });
}
