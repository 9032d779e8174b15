// The one file that knows the addon: how it is found and loaded, which is not before the first use.
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import nodeGypBuild from "node-gyp-build";
import { AnymalError } from "./errors.js";
import type { Native } from "./native-surface.js";

export type { Handle } from "./native-ops.js";
export type { Native } from "./native-surface.js";

/** The package's own folder, from the source tree (lib/core) as from the bundle (dist). */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = join(folder, "package.json");
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, "utf8")).name === "anymal") return folder;
    const up = dirname(folder);
    if (up === folder) throw new AnymalError("E_LOAD", `anymal: no package.json of anymal above ${import.meta.url}; reinstall the package`);
    folder = up;
  }
}

/** Of the package. */
export const packageVersion = (): string => JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")).version;
/** Where the addon lies. */
export const addonFile = (): string => nodeGypBuild.path(packageRoot());

let loaded: Native | undefined;
let between: Native | undefined;

/** Calls go through what `make` gives, until another call says undefined. */
export function intercept(make: ((real: Native) => Native) | undefined): void {
  between = undefined;
  between = make?.(native());
}

/** The addon. The first call loads it; a failure says what to run. */
export function native(): Native {
  if (between) return between;
  if (loaded) return loaded;
  const root = packageRoot();
  try {
    loaded = nodeGypBuild(root) as Native;
    return loaded;
  } catch (cause) {
    const source = existsSync(join(root, "CMakeLists.txt")) && existsSync(join(root, "tools", "build-native.cjs"));
    const remedy = source
      ? `build it with: node ${join(root, "tools", "build-native.cjs")} (needs a C++20 compiler, CMake and ninja or make)`
      : "use Linux x64 with glibc 2.34 or newer, or build from a clone of the repository";
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    throw new AnymalError(
      "E_LOAD",
      `anymal: no native addon for ${process.platform}-${process.arch}, Node ${process.versions.node} (${reason}); ${remedy}`,
      { cause },
    );
  }
}
