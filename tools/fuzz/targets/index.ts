// Every reader that is fuzzed, by its name.
import type { Target } from "../target.js";
import { csv } from "./csv.js";
import { gguf } from "./gguf.js";
import { manifest } from "./manifest.js";
import { npyTarget } from "./npy.js";
import { recipes } from "./recipes.js";
import { safetensors } from "./safetensors.js";
import { sentencepiece } from "./sentencepiece.js";
import { templates } from "./templates.js";
import { tokenizer } from "./tokenizer.js";
import { wav } from "./wav.js";

export const TARGETS: readonly Target[] = [safetensors, gguf, sentencepiece, wav, csv, npyTarget, tokenizer, templates, recipes, manifest];
