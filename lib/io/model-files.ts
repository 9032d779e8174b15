// The small files of a model's folder, by what they are for: what is fetched, and what goes along when one folder is made of another.

export const CONFIG_FILES = ["config.json", "generation_config.json"];
export const TOKENIZER_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "chat_template.jinja",
  "chat_template.json",
  "vocab.json",
  "merges.txt",
];
/** Beside an InstructBLIP's own tokenizer, as its processor saves it: that of the question, by which the Q-Former is told of it. */
export const QUESTION_FOLDER = "qformer_tokenizer";
export const PROCESSOR_FILES = ["preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"];
