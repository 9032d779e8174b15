// A worker thread that runs TypeScript: threads do not take over tsx's loader from the process.
import { register } from "tsx/esm/api";

register();
await import("./lifecycle-child.ts");
