// Faults at every native step: the addon's functions are wrapped in place, and the n-th call from now on fails, either at once or later, on the device.
import * as assert from "uvu/assert";
import { type Handle, type Native, native } from "../lib/core/native.js";
import { here } from "./case.js";

/** "now": the call throws, or its promise rejects. "later": its results are such as a failed op leaves behind, and the device has an error to tell. */
export type Kind = "now" | "later";

/** They give back or look up, and cannot fail on what is alive. */
const HARMLESS =
  /^(tensor_dispose|tensor_spec|file_unmap|file_size|capture_dispose|packed_bytes|device_(open|close|describe|memory|reset_peak))$/;
const F32 = 0;
const I32 = 2;

type Call = (...args: unknown[]) => unknown;

/** Runs `work` with the n-th step failing; none fails for n = 0. Resolves to the number of steps, and what `work` threw. */
export async function withFault(n: number, kind: Kind, work: () => unknown): Promise<{ steps: number; error: unknown; hit: boolean }> {
  const addon = native() as unknown as Record<string, Call>;
  const plain = { ...addon } as unknown as Native;
  let steps = 0;
  let recording = false;
  let error: unknown;
  let hit = false;
  for (const [name, call] of Object.entries(addon)) {
    if (typeof call !== "function" || HARMLESS.test(name)) continue;
    addon[name] = (...args) => {
      if (name === "tensor_read" && fromPace()) return call(...args);
      if (name === "capture_begin") recording = true;
      if (name === "capture_end") recording = false;
      const fails = ++steps === n;
      if (fails && kind === "now") {
        hit = true;
        if (name === "capture_end") call(...args); // a recording that could not be closed is over all the same
        const awaited = /^(tensor_read|device_synchronize|media_)/.test(name);
        if (!awaited) throw injected(name);
        return Promise.reject(injected(name));
      }
      const result = call(...args);
      if (!fails || recording) return result;
      if (result instanceof Promise) {
        hit = true;
        return result.then(() => Promise.reject(injected(name)));
      }
      if (/^(file_|capture_)/.test(name)) return result;
      hit = true;
      return Array.isArray(result) ? result.map((one) => one && ruined(plain, one)) : ruined(plain, result as Handle | undefined);
    };
  }
  try {
    await work();
  } catch (caught) {
    error = caught;
  } finally {
    Object.assign(addon, plain);
  }
  return { steps, error, hit };
}

/** Who only looks how far the device is tells nobody what failed (lib/core/pace.ts): that is told where it is read. When he looks depends on the clock. */
const fromPace = (): boolean => /core[/\\]pace\./.test(new Error().stack ?? "");

const injected = (name: string): Error => Object.assign(new Error(`${name}: injected`), { code: "E_OUT_OF_MEMORY" });

/** A failed tensor of the same shape and dtype in the place of `result`, which is disposed. */
function ruined(n: Native, result: Handle | undefined): Handle | undefined {
  const source = n.tensor_create(here.id, F32, [1, 1]);
  const outside = n.tensor_from(here.id, I32, [1], Int32Array.of(7));
  const one = n.gather_rows(source, outside); // E_INDEX, on the device
  const scraps: Handle[] = [source, outside, one];
  let failed: Handle | undefined;
  if (typeof result === "number") {
    const { shape, dtype } = n.tensor_spec(result);
    const size = shape.reduce((a, b) => a * b, 1);
    const wide = n.slice_place(one, 0, 0, size);
    const typed = dtype === F32 ? wide : dtype === I32 ? n.argmax(wide) : dtype === 1 ? n.cast(wide, dtype) : bytes(n, wide, scraps);
    failed = n.tensor_reshape(typed, shape);
    scraps.push(result, ...new Set([wide, typed]));
  }
  n.tensor_dispose(scraps);
  return failed;
}

function bytes(n: Native, wide: Handle, scraps: Handle[]): Handle {
  const [codes, absmax] = n.quantize_dynamic(wide, 256, true);
  scraps.push(absmax);
  return codes;
}

/** What is alive on the device once all has run. Errors that are left to tell are told here, to nobody. */
export async function held(): Promise<{ tensors: number; bytesInUse: number }> {
  await here.synchronize().catch(() => undefined);
  const { tensors, bytesInUse } = here.memory();
  return { tensors, bytesInUse };
}

/** All of 1 … n, or so many of them that are spread evenly; ANYMAL_SWEEP=all: all. */
export function spread(n: number, most: number): number[] {
  if (n <= most || process.env.ANYMAL_SWEEP === "all") return Array.from({ length: n }, (_, i) => i + 1);
  return Array.from({ length: most }, (_, i) => 1 + Math.floor((i * (n - 1)) / (most - 1)));
}

/**
 * `entry` with a fault at each of its steps: it rejects with a code (a fault that only the device knows of may show later), leaves on the device what
 * was there before, and works afterwards. `entry` leaves nothing behind when it succeeds.
 */
export async function sweep(name: string, entry: () => unknown, most = 30): Promise<void> {
  await entry(); // tables that are made at the first use and kept
  const before = await held();
  const { steps, error } = await withFault(0, "now", entry);
  assert.is(error, undefined, `${name}: fails by itself: ${(error as Error)?.stack}`);
  assert.equal(await held(), before, `${name}: leaves something behind when it succeeds`);
  assert.ok(steps > 0, `${name}: no native step`);
  const wrong: string[] = [];
  for (const kind of ["now", "later"] as const) {
    for (const n of spread(steps, most)) {
      const { error, hit } = await withFault(n, kind, entry);
      const after = await held();
      const where = `${name}: step ${n} of ${steps}, ${kind}`;
      if (kind === "now" && hit && error === undefined) wrong.push(`${where}: no error`);
      if (error !== undefined && !/^E_/.test((error as { code?: string }).code ?? "")) wrong.push(`${where}: ${(error as Error).stack}`);
      if (after.tensors !== before.tensors || after.bytesInUse !== before.bytesInUse)
        wrong.push(
          `${where}: ${after.tensors - before.tensors} tensors, ${after.bytesInUse - before.bytesInUse} bytes left (${(error as Error)?.message})`,
        );
      Object.assign(before, after); // each leak once
    }
  }
  const again = await withFault(0, "now", entry);
  if (again.error !== undefined) wrong.push(`${name}: does not work afterwards: ${(again.error as Error).stack}`);
  assert.is(wrong.length, 0, `${wrong.length} of ${steps} steps:\n${wrong.slice(0, 12).join("\n")}`);
}
