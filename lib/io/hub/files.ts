// Which files of a repository are wanted: what is read here, the weights once and as safetensors, never pickles and copies in other formats.
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseShallow } from "../../core/json.js";
import { readPlainSync } from "../../core/plain-file.js";
import { LONGEST_INDEX } from "../checkpoint.js";
import { CONFIG_FILES, PROCESSOR_FILES, QUESTION_FOLDER, TOKENIZER_FILES } from "../model-files.js";
import { HubError } from "./error.js";

/** model: all that a model needs, tokenizer and processor included. The others leave the weights where they are. Or a test of names of one's own. */
export type FileSet = "model" | "config" | "tokenizer" | "processor" | ((name: string) => boolean);

/** config.json tells a processor which model it belongs to, and a tokenizer too. */
const SMALL: Readonly<Record<"config" | "tokenizer" | "processor", readonly string[]>> = {
  config: CONFIG_FILES,
  tokenizer: ["config.json", ...TOKENIZER_FILES],
  processor: ["config.json", ...PROCESSOR_FILES],
};
const MODEL = [...CONFIG_FILES, ...TOKENIZER_FILES, ...PROCESSOR_FILES, "open_clip_config.json", "adapter_config.json", "anymal.json"];

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";
const SHARD = /^model-\d+-of-\d+\.safetensors$/;
/** Not in Hugging Face's layout, but of models that are read here. */
const OTHERS = ["open_clip_model.safetensors", "adapter_model.safetensors"];
/** Of a trained model: its projections, and the adapters beside the default one. */
const OF_ANYMAL = /^(projectors\/[\w-]+\.safetensors|adapters\/[\w-]+\/adapter_(config\.json|model\.safetensors))$/;
/** The tokenizer of an InstructBLIP's questions. */
const OF_QUESTIONS: readonly string[] = TOKENIZER_FILES.map((name) => `${QUESTION_FOLDER}/${name}`);
const ELSEWHERE = /\.(bin|pt|pth|ckpt|h5|msgpack|onnx|gguf)$/;

/** Names that are asked for whether or not a repository has them: what `.no_exist` records. */
export function askedNames(set: FileSet): readonly string[] {
  if (typeof set === "function") return [];
  return set === "model" ? MODEL : SMALL[set];
}

/** Of a repository's files, the wanted ones. The weights come last, so that a folder which has them has everything. */
export function wantedFiles(id: string, names: readonly string[], set: FileSet): string[] {
  if (typeof set === "function") return names.filter((name) => set(name));
  const small = names.filter((name) => askedNames(set).includes(name));
  if (set !== "model") return small;
  const weights = weightFiles(names);
  const projections = names.includes("anymal.json") ? names.filter((name) => OF_ANYMAL.test(name)) : [];
  const elsewhere = names.filter((name) => ELSEWHERE.test(name));
  if (!weights.length && !projections.length && elsewhere.length)
    throw new HubError(
      "E_HUB_FILES",
      id,
      "weights as safetensors",
      elsewhere.slice(0, 3).join(", "),
      "take a revision that has them (the hub's converter offers one as a pull request: revision refs/pr/N under the model's Community tab), or fetch its files and write them as safetensors: anymal convert IN OUT",
    );
  const questions = names.filter((name) => OF_QUESTIONS.includes(name));
  return [...small, ...questions, ...projections, ...weights];
}

function weightFiles(names: readonly string[]): string[] {
  if (names.includes(SINGLE)) return [SINGLE]; // an index beside it was left over
  if (names.includes(INDEX)) return [INDEX, ...names.filter((name) => SHARD.test(name))];
  return OTHERS.filter((name) => names.includes(name));
}

/** What a snapshot lacks of a set, in words; undefined for one that can be used without asking the hub. */
export function missingIn(folder: string, set: FileSet): string | undefined {
  if (!existsSync(folder)) return "no snapshot";
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" }).map((name) => name.replaceAll("\\", "/"));
  const there = names.filter((name) => existsSync(join(folder, name))); // of a link whose blob is gone, only the name is left
  const some = (wanted: readonly string[]): boolean => wanted.some((name) => there.includes(name));
  if (typeof set === "function") return there.some((name) => set(name)) ? undefined : "none of the files";
  if (set === "config") return there.includes("config.json") ? undefined : "config.json";
  if (set === "processor") return some(PROCESSOR_FILES) ? undefined : PROCESSOR_FILES[0];
  if (set === "tokenizer") return some(["tokenizer.json", "tokenizer.model", "merges.txt"]) ? undefined : "tokenizer.json";
  if (there.includes("anymal.json")) return there.some((name) => name.startsWith("projectors/")) ? undefined : "projectors/";
  if (!some(["config.json", "open_clip_config.json", "adapter_config.json"])) return "config.json";
  if (there.includes(INDEX) && !there.includes(SINGLE)) return shardsOf(join(folder, INDEX)).find((shard) => !there.includes(shard));
  return some([SINGLE, ...OTHERS]) ? undefined : SINGLE;
}

/** Whoever opens the model checks the index; here only the shards' names matter. */
function shardsOf(index: string): string[] {
  try {
    return [
      ...new Set(
        Object.values(
          (parseShallow(readPlainSync(index, { most: LONGEST_INDEX }).toString("utf8")) as { weight_map: Record<string, string> })
            .weight_map,
        ),
      ),
    ];
  } catch {
    return [INDEX + " that can be read"];
  }
}
