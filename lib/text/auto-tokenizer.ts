// The tokenizer of a model, wherever the model is.
import { expected } from "../core/errors.js";
import { checkOptions } from "../core/options.js";
import { type ResolveOptions, resolveModel } from "../io/hub.js";
import { Tokenizer } from "./tokenizer.js";

/** revision: branch, tag or commit of a model on the hub. onProgress is told of what arrives from there; with localFilesOnly nothing does. */
export type AutoTokenizerOptions = Pick<ResolveOptions, "revision" | "signal" | "onProgress" | "localFilesOnly">;

/** What transformers takes here. */
const OTHERS = {
  useFast: "there is one reader for each of the files",
  paddingSide: "encodeBatch(texts, { side }) takes it",
  addBosToken: "encode(text, { addSpecialTokens }) takes it",
  token: "the hub's token is read from HF_TOKEN",
  cacheDir: "the hub's cache is where HF_HOME or HF_HUB_CACHE says",
};

/** Opens the tokenizer of a folder, a GGUF file or a model of the hub. */
export const AutoTokenizer = {
  /**
   * From a folder with tokenizer.json or tokenizer.model, from a GGUF file, or by a model's id on the hub, of which only the tokenizer's files are
   * fetched. Rejects with HubError where there is no such model, with E_TOKENIZER, E_CHAT_TEMPLATE or E_GGUF where the files hold no tokenizer
   * that is read here.
   */
  async fromPretrained(folderOrId: string, options: AutoTokenizerOptions = {}): Promise<Tokenizer> {
    checkOptions("AutoTokenizer.fromPretrained", options, ["revision", "signal", "onProgress", "localFilesOnly"], { others: OTHERS });
    const { signal } = options;
    signal?.throwIfAborted();
    if (typeof folderOrId !== "string")
      throw expected("E_ARGUMENT", "AutoTokenizer", "a folder, a GGUF file, or a model of the hub as org/name", typeof folderOrId);
    return Tokenizer.load(await resolveModel(folderOrId, { ...options, files: "tokenizer" }), { signal });
  },
};
