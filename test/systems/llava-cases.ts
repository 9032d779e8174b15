// What the tests of LLaVA's checkpoints share: the five layouts of one set of weights, and a case's rows as the network takes them.
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Tensor } from "../../lib/core/tensor.js";
import { SafetensorsFile, saveSafetensors } from "../../lib/io/safetensors.js";
import type { AnyMALBatch, MediaReference } from "../../lib/models/anymal.js";
import type { TextPart } from "../../lib/text/splice.js";
import { type Case, copyFolder } from "../case.js";

type Stored = ReadonlyMap<string, { dtype: "F32"; shape: number[]; data: Uint8Array }>;

function storedIn(file: string): Stored {
  using open = new SafetensorsFile(file);
  return new Map(
    [...open.entries].map(([name, { shape }]) => [name, { dtype: "F32", shape: [...shape], data: new Uint8Array(open.bytes(name)) }]),
  );
}

/** A name of transformers' default layout in each of the others; undefined: it stands in another file. */
const NAMES: Readonly<Record<string, (name: string) => string | undefined>> = {
  "llava-hf": (name) => name,
  "llava-hf-4.52": (name) =>
    name
      .replace(/^language_model\.lm_head/, "lm_head")
      .replace(/^language_model\.model/, "model.language_model")
      .replace(/^(vision_tower|multi_modal_projector)/, "model.$1"),
  "llava-hf-5.6": (name) => NAMES["llava-hf-4.52"]!(name)!.replace("vision_tower.vision_model.", "vision_tower."),
  "llava-hf-5-fresh": (name) => name.replace("vision_tower.vision_model.", "vision_tower."),
  "llava-original": (name) => {
    if (name.startsWith("vision_tower.")) return undefined;
    const [, place, part] = /^multi_modal_projector\.linear_([12])\.(.*)$/.exec(name) ?? [];
    return place ? `model.mm_projector.${place === "1" ? 0 : 2}.${part}` : name.replace("language_model.", "");
  },
};
export const LAYOUT_NAMES = Object.keys(NAMES);

/** A folder for each layout, in a new one. `c`: the case llava, whose hub folder has the default layout. */
export async function inAllLayouts(c: Case): Promise<Map<string, string>> {
  const root = mkdtempSync(join(tmpdir(), "anymal-llava-"));
  const stored = storedIn(join(c.folder, "hub", "model.safetensors"));
  const json = c.json();
  const { text_config: text, vision_config: vision } = json as Record<string, Record<string, unknown>>;
  const folders = new Map<string, string>();
  for (const [layout, rename] of Object.entries(NAMES)) {
    const folder = join(root, layout);
    copyFolder(c.folder, folder, (file) => /(token|process|template|generation)[^/]*\.(json|jinja)$/.test(basename(file)));
    const all = [...stored].map(([name, value]) => [rename(name), value] as const);
    await saveSafetensors(
      join(folder, "model.safetensors"),
      all.filter((one): one is [string, (typeof one)[1]] => one[0] !== undefined),
    );
    if (layout !== "llava-original") writeFileSync(join(folder, "config.json"), JSON.stringify(json));
    else {
      const own = {
        mm_vision_tower: "tower",
        mm_hidden_size: vision!.hidden_size,
        mm_projector_type: "mlp2x_gelu",
        mm_vision_select_layer: -2,
      };
      writeFileSync(
        join(folder, "config.json"),
        JSON.stringify({ ...text, ...own, model_type: "llava", mm_vision_select_feature: "patch" }),
      );
      mkdirSync(join(folder, "tower"));
      writeFileSync(join(folder, "tower", "config.json"), JSON.stringify({ ...vision, architectures: ["CLIPVisionModel"] }));
      copyFolder(c.folder, join(folder, "tower"), (file) => basename(file) === "preprocessor_config.json");
      const tower = [...stored].filter(([name]) => name.startsWith("vision_tower."));
      await saveSafetensors(
        join(folder, "tower", "model.safetensors"),
        tower.map(([name, value]) => [name.slice("vision_tower.".length), value] as const),
      );
    }
    folders.set(layout, folder);
  }
  return folders;
}

/** Rows of ids in which each run of `perImage` image tokens is the next picture; padding goes. */
export function batchOfIds(
  rows: readonly (readonly number[])[],
  mask: readonly (readonly number[])[],
  token: number,
  perImage: number,
  features: Tensor,
  labels?: readonly (readonly number[])[],
): AnyMALBatch {
  let item = 0;
  const parts = rows.map((row, b) => {
    const made: (TextPart | MediaReference)[] = [];
    let text: { ids: number[]; labels: number[] } | undefined;
    for (let t = 0; t < row.length; ++t) {
      if (!mask[b]![t]) continue;
      if (row[t] === token) {
        made.push({ modality: "image", item: item++ });
        t += perImage - 1;
        text = undefined;
        continue;
      }
      if (!text) {
        text = { ids: [], labels: [] };
        made.push(text);
      }
      text.ids.push(row[t]!);
      text.labels.push(labels ? labels[b]![t]! : -100);
    }
    return made;
  });
  return { rows: parts, features: { image: features } };
}
