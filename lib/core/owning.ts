// Parts that are made one after the other, awaiting in between: built() of core/scope.ts for what cannot be one synchronous piece.

interface Disposable {
  dispose(): void;
}

/** Runs `build`, which gives what it makes to `own` as soon as it is there. When it rejects, all of that is disposed, last first: half a model has no owner. */
export async function owning<T>(build: (own: <P extends Disposable>(part: P) => P) => Promise<T>): Promise<T> {
  const parts = new Set<Disposable>(); // one that stands in two places is disposed once
  try {
    return await build((part) => {
      parts.add(part);
      return part;
    });
  } catch (error) {
    for (const part of [...parts].reverse()) part.dispose();
    throw error;
  }
}
