// A model is trained by one at a time: two would undo each other's steps, and neither would notice. Asking it meanwhile is fine.
import { BusyError } from "../io/folder-lock.js";

/** Lives as long as the training's generator: one that was dropped in mid-work, without being told to return, holds nothing. */
interface Training {
  what: string;
  since: string;
}
const trainings = new WeakMap<object, WeakRef<Training>>();

/** `steps` while nobody else trains one of `parts`, from the first step that is asked for to the last. Throws E_BUSY, which names the other. */
export async function* alone<T>(what: string, parts: readonly object[], steps: () => AsyncGenerator<T>): AsyncGenerator<T> {
  for (const part of parts) {
    const other = trainings.get(part)?.deref();
    if (other)
      throw new BusyError(
        `the model of ${what}`,
        `${other.what}, since ${other.since}, on the same model`,
        "wait for it, end it, or load the model once more",
      );
  }
  const training: Training = { what, since: new Date().toISOString() };
  const held = new WeakRef(training);
  for (const part of parts) trainings.set(part, held);
  try {
    yield* steps();
  } finally {
    for (const part of parts) if (trainings.get(part)?.deref() === training) trainings.delete(part);
  }
}
