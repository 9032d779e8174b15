// What the compiler says of public types: names of kinds complete and take others, parts are told apart, any processor makes any parts. The functions are
// compiled and not called; `npm run check` fails where one of their lines says something else.
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  type AnyMAL,
  type AssembleOptions,
  AutoProcessor,
  type align,
  audio,
  image,
  loadImage,
  type MediaPart,
  type Modality,
  mediaKind,
  type Processor,
} from "../../lib/index.js";
import { caseFolder } from "../case.js";

const test = suite("public types");

export function named(model: AnyMAL, training: typeof align) {
  const own: Modality = "eeg";
  const there: Modality = "image";
  training(model, { modality: "eeg", data: "captions.jsonl" });
  const options: AssembleOptions = { llm: "x", modalities: { image: { encoder: "clip" }, eeg: {} } };
  // @ts-expect-error pictures need an encoder
  const lacking: AssembleOptions = { llm: "x", modalities: { image: {} } };
  // @ts-expect-error a key of no option
  const misspelt: AssembleOptions = { llm: "x", modalities: { eeg: { projektor: { type: "linear" } } } };
  return [own, there, options, lacking, misspelt];
}

const eeg = mediaKind<{ values: Float32Array }>({
  name: "eeg",
  load: () => ({ values: new Float32Array(1) }),
  blank: (given) => given,
  encoder: { key: "first", shape: [1, 1], encode: (all) => all.map(({ values }) => values.subarray(0, 1)) },
});

export async function told(part: MediaPart) {
  if (part.modality === "image") return (await loadImage(part)).width;
  if (eeg.is(part)) return (await eeg.load(part)).values.length;
  // @ts-expect-error not every part is a picture
  return loadImage(part);
}

export async function processed(processor: Processor): Promise<number[]> {
  const { data, shape } = await processor.process([image("cat.jpg")]);
  const values: Float32Array = data;
  return [values.length, ...shape];
}

test("any processor takes parts, and refuses those of another kind by name", async () => {
  const processor = await AutoProcessor.fromPretrained(caseFolder("clip-vision"));
  const pixels = { data: new Uint8Array(12), width: 2, height: 2 };
  const { shape } = await processor.process([image(pixels)]);
  assert.is(shape.length, 4);
  const error = await processor.process([audio("song.wav")]).catch((cause) => cause);
  assert.equal([error.code, error.message], ["E_MEDIA_OPTION", "ImageProcessor: expected parts of image, got one of audio; pass image(…)"]);
});

test("an editor offers the kinds that are here", () => {
  const file = fileURLToPath(new URL("offered.ts", import.meta.url));
  const text = `import type { Modality } from "../../lib/media/part.js";\nexport const it: Modality = "";\n`;
  const host: ts.LanguageServiceHost = {
    ...{ getScriptFileNames: () => [file], getScriptVersion: () => "1", getCurrentDirectory: () => process.cwd() },
    getCompilationSettings: () => ({
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      noLib: true,
      types: [],
      strict: true,
    }),
    getScriptSnapshot: (name) => {
      const content = name === file ? text : ts.sys.readFile(name);
      return content === undefined ? undefined : ts.ScriptSnapshot.fromString(content);
    },
    getDefaultLibFileName: ts.getDefaultLibFilePath,
    fileExists: (name) => name === file || ts.sys.fileExists(name),
    readFile: ts.sys.readFile,
  };
  const found = ts.createLanguageService(host).getCompletionsAtPosition(file, text.indexOf('""') + 1, {});
  assert.equal(found?.entries.map(({ name }) => name).sort(), ["audio", "image", "imu", "video"]);
});

test.run();
