// What a bench's seconds are: those of the wall, or of all threads of the process. On a machine that others use the latter say more, with one thread: who waits
// for a core does not count. Threads that spin count as if they worked.
export type Clock = "wall" | "cpu";

/** Rivals' processes inherit it. */
const VARIABLE = "ANYMAL_BENCH_CLOCK";
export const setClock = (clock: Clock): void => {
  process.env[VARIABLE] = clock;
};
export const clockInUse = (): Clock => (process.env[VARIABLE] === "cpu" ? "cpu" : "wall");

/** Seconds since some moment. */
export function now(): number {
  if (clockInUse() === "wall") return performance.now() / 1000;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}
