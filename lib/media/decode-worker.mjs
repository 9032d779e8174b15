// The decoding worker of a checkout, where threads do not take over tsx's loader from the process; a build has lib/media/decode-loop.ts in its place.
import { register } from "tsx/esm/api";

register();
await import("./decode-loop.ts");
