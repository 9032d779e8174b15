// Several things under way at once, of which nothing is left behind when one fails.

/** As Promise.all, but a failure is told only when none of the others is under way any more: what they hold is free again by then. */
export async function settled<T>(promises: Iterable<Promise<T>>): Promise<T[]> {
  const all = await Promise.allSettled(promises);
  return all.map((one) => {
    if (one.status === "rejected") throw one.reason;
    return one.value;
  });
}
