// Captions of COCO: Karpathy's split, or the publishers' own of validation.
import { is } from "../../core/checks.js";
import { type CaptionDoc, captionScores } from "./scorers.js";
import { type EvalTask, type Item, MEDIA, TEXTS } from "./task.js";

interface CocoDoc extends CaptionDoc {
  imageId: number;
}

/** Where pictures are kept. */
const places = (folder: string, file: string): string[] => [
  ...new Set([`${folder}/${file}`, `images/${folder}/${file}`, `images/${file}`, file]),
];

export const cocoCaptions: EvalTask<CocoDoc> = {
  name: "coco-captions",
  about: "one sentence about a picture: CIDEr-D, BLEU, ROUGE-L",
  source: "Microsoft COCO Captions, arXiv 1504.00325; split: Karpathy and Fei-Fei, arXiv 1412.2306",
  layout:
    "dataset_coco.json (Karpathy's; splits test and val), or annotations/captions_val2014.json or captions_val2017.json (split all); pictures in val2014/ and so on",
  modality: "image",
  splits: ["test", "val", "all"],
  doc: { references: TEXTS, imageId: is.integer() },
  async *read(folder, split) {
    const own = [
      "annotations/captions_val2014.json",
      "captions_val2014.json",
      "annotations/captions_val2017.json",
      "captions_val2017.json",
    ];
    if (split === "all") yield* published(await folder.lists(folder.file(...own), "images", "annotations"));
    else {
      const path = folder.file("dataset_coco.json", "karpathy/dataset_coco.json", "annotations/dataset_coco.json");
      const { images } = await folder.lists(path, "images");
      for (const image of images) {
        if (image.split !== split) continue;
        const sentences = (Array.isArray(image.sentences) ? image.sentences : []).map((one: { raw?: unknown }) => one?.raw);
        const [file, from] = [String(image.filename), String(image.filepath ?? "val2014")];
        yield itemOf(Number(image.cocoid ?? image.imgid), sentences as string[], places(from, file));
      }
    }
  },
  conventions: {
    anymal: {
      source: "AnyMAL, arXiv 2309.16058, appendix B.1",
      ask: () => ({
        system: ["You are a multimodal assistant. Be direct and concise. Here is the image: ", MEDIA],
        user: [
          'Describe the image in one generic sentence. Say "a man rides a bicycle on a street", not "a tall man in a red coat rides a black bicycle along a wet street". Answer with JSON alone: {"caption": "..."}',
        ],
      }),
      maxNewTokens: 64,
      score: (answers) => captionScores(answers, captionIn),
    },
    "lmms-eval": {
      source: "lmms-eval coco_karpathy_test, coco2014_cap_val, coco2017_cap_val",
      ask: () => ({ user: [MEDIA, "Provide a one-sentence caption for the provided image."] }),
      maxNewTokens: 64,
      score: (answers) => captionScores(answers),
    },
    vlmevalkit: {
      source: "VLMEvalKit COCO_VAL: words apart by blanks alone (it prints times 100)",
      ask: () => ({
        user: [
          MEDIA,
          'Please describe this image in general. Directly provide the description, do not include prefix like "This image depicts". ',
        ],
      }),
      maxNewTokens: 128,
      score: (answers) => captionScores(answers, (answer) => answer, { tokenize: (text) => text.split(/\s+/).filter((word) => word) }),
    },
  },
  hub: { id: "yerevann/coco-karpathy", task: "coco_karpathy_test" },
};

function* published({
  images,
  annotations,
}: Record<"images" | "annotations", Readonly<Record<string, unknown>>[]>): Generator<Item<CocoDoc>> {
  const captions = new Map<unknown, string[]>();
  for (const { image_id: id, caption } of annotations) captions.set(id, [...(captions.get(id) ?? []), caption as string]);
  for (const { id, file_name: name } of images) {
    const file = String(name);
    const year = /COCO_(\w+?)_\d+/.exec(file)?.[1] ?? "val2017";
    yield itemOf(Number(id), captions.get(id) ?? [], places(year, file));
  }
}

const itemOf = (imageId: number, references: string[], all: readonly string[]): Item<CocoDoc> => ({
  id: String(imageId),
  media: [{ modality: "image", places: all }],
  doc: { references, imageId },
  target: references[0] ?? "",
});

/** Of JSON as it was asked for, the first text in it; else the answer as it stands. */
export function captionIn(answer: string): string {
  const [, quoted] = /\{\s*"[^"]*"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(answer) ?? [];
  if (quoted === undefined) return answer.trim();
  try {
    return String(JSON.parse(quoted)).trim();
  } catch {
    return answer.trim();
  }
}
