declare module "node-gyp-build" {
  /** Loads the addon of the package in `folder`: build/Release first, then prebuilds/. */
  export default function nodeGypBuild(folder: string): unknown;
}
