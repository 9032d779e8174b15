declare module "node-gyp-build" {
  /** Loads the addon of the package in `folder`: build/Release first, then prebuilds/. */
  function nodeGypBuild(folder: string): unknown;
  namespace nodeGypBuild {
    /** Where it is. */
    function path(folder: string): string;
  }
  export default nodeGypBuild;
}
