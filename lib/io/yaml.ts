// Recipes' files, which people pass on. yaml's own search for keys that stand twice compares each with each, and takes minutes for some thousands.
import { isMap, isScalar, parseDocument, visit } from "yaml";

/** Bytes of a recipe. The longest has a few thousand, and its tree takes a thousand times its bytes. */
export const LARGEST = 2 ** 17;

/** Throws SyntaxError, or what yaml throws, where it is none. */
export function parseYaml(text: string): unknown {
  const document = parseDocument(text, { uniqueKeys: false, logLevel: "error" });
  const [problem] = document.errors;
  if (problem) throw problem;
  visit(document, {
    Collection(_, collection) {
      if (!isMap(collection)) return;
      const keys = new Set<unknown>();
      for (const { key } of collection.items) {
        const name = isScalar(key) ? key.value : key;
        if (keys.has(name)) throw new SyntaxError(`the key ${String(name).slice(0, 80)} stands twice`);
        keys.add(name);
      }
    },
  });
  return document.toJS();
}
