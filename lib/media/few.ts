// Media of a batch, a few at a time: what is decoded is many times larger than the file, and than what an encoder takes of it.

/**
 * `work` on each item, on at most `most` of them at once; the results in the items' order. After an error nothing more is begun, and when all that was
 * has ended, the error of the earliest item is thrown.
 */
export async function fewAtOnce<T, R>(items: readonly T[], most: number, work: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const errors: unknown[] = []; // sparse
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length && !errors.length) {
      const index = next++;
      try {
        results[index] = await work(items[index]!, index);
      } catch (error) {
        errors[index] = error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, worker));
  for (const index in errors) throw errors[index];
  return results;
}
