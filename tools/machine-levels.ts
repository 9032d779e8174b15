// The CPU backend's dispatch levels that this machine can run, lowest first, as JSON. The addon has to be built. Runs as a program of its own: who asks
// may outlive a rebuild of the addon, and must not have it loaded.
import { device } from "../lib/index.js";

const levels: string[] = [];
for (const level of ["generic", "avx2", "avx512", "avx512_bf16", "amx"]) {
  try {
    await device("cpu", { level, threads: 1 }).close();
    levels.push(level);
  } catch (error) {
    if ((error as { code?: string }).code !== "E_DEVICE") throw error;
  }
}
console.log(JSON.stringify(levels));
