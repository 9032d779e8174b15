/** The CPU backend's dispatch levels that this machine can run, lowest first. Loads the addon, so it has to be built. */
export async function machineLevels(): Promise<string[]> {
  const { device } = await import("../lib/index.js");
  const levels: string[] = [];
  for (const level of ["generic", "avx2", "avx512", "avx512_bf16", "amx"]) {
    try {
      await device("cpu", { level, threads: 1 }).close();
      levels.push(level);
    } catch (error) {
      if ((error as { code?: string }).code !== "E_DEVICE") throw error;
    }
  }
  return levels;
}
