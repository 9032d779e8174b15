// Every reader that is fuzzed, by its name.
import type { Target } from "../target.js";
import { clips, y4m } from "./clips.js";
import { csv } from "./csv.js";
import { gguf } from "./gguf.js";
import { llava } from "./llava.js";
import { manifest } from "./manifest.js";
import { npyTarget } from "./npy.js";
import { pickle } from "./pickle.js";
import { pictures } from "./pictures.js";
import { processors } from "./processors.js";
import { recipes } from "./recipes.js";
import { safetensors } from "./safetensors.js";
import { sentencepiece } from "./sentencepiece.js";
import { sounds } from "./sounds.js";
import { templates } from "./templates.js";
import { tokenizer } from "./tokenizer.js";
import { trainerState } from "./trainer-state.js";
import { wav } from "./wav.js";

export const TARGETS: readonly Target[] = [
  safetensors,
  gguf,
  sentencepiece,
  wav,
  csv,
  npyTarget,
  pickle,
  tokenizer,
  templates,
  recipes,
  manifest,
  llava,
  sounds,
  pictures,
  clips,
  y4m,
  processors,
  trainerState,
];
