// What the file system may refuse: the n-th call from now on rejects as the system would. Names and handles of node:fs/promises are wrapped in place.
import fs, { type FileHandle } from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { devNull } from "node:os";

type Call = (this: unknown, ...args: unknown[]) => Promise<unknown>;
const CALLS = ["open", "mkdir", "rename", "rm", "readdir", "readFile", "writeFile", "appendFile"] as const;
const OF_HANDLES = ["writeFile", "sync"] as const;

export interface Refusal {
  /** Which call, counted from 1; 0: none. */
  n: number;
  /** The system's code. */
  code: string;
}
export interface Refused {
  calls: number;
  /** What was refused: "rename", "handle.sync". */
  name: string | undefined;
  error: unknown;
}

/** Runs `work` with one call refused; `seen` hears of every call before it is made. */
export async function withRefusal(
  { n, code }: Refusal,
  work: () => unknown,
  seen?: (name: string, args: unknown[]) => void,
): Promise<Refused> {
  const handle = await fs.open(devNull);
  const handles = Object.getPrototypeOf(handle) as Record<string, Call>;
  await handle.close();
  const functions = fs as unknown as Record<string, Call>;
  const plain = new Map<string, Call>();
  const result: Refused = { calls: 0, name: undefined, error: undefined };
  const wrap = (owner: Record<string, Call>, key: string, name: string) => {
    const call = owner[key] as Call;
    plain.set(name, call);
    owner[key] = function (this: unknown, ...args) {
      const own: unknown[] = owner === handles ? [this as FileHandle, ...args] : args;
      seen?.(name, own);
      if (++result.calls !== n) return call.apply(this, args);
      result.name = name;
      return Promise.reject(Object.assign(new Error(`${code}: refused by a test, ${key}`), { code, syscall: key, errno: -1 }));
    };
  };
  for (const key of CALLS) wrap(functions, key, key);
  for (const key of OF_HANDLES) wrap(handles, key, `handle.${key}`);
  syncBuiltinESMExports();
  try {
    await work();
  } catch (error) {
    result.error = error;
  } finally {
    for (const key of CALLS) functions[key] = plain.get(key) as Call;
    for (const key of OF_HANDLES) handles[key] = plain.get(`handle.${key}`) as Call;
    syncBuiltinESMExports();
  }
  return result;
}
