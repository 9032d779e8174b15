// The table of published files in docs/systems.md, held to what the program says of their config.json alone.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { AnyMAL } from "../../lib/anymal/anymal.js";
import { inspectFolder } from "../../lib/cli/inspect-folder.js";
import { AutoModelForCausalLM } from "../../lib/models/auto-causal-lm.js";
import { isWhole } from "../../lib/models/model-types.js";
import { checkText } from "../../lib/systems/layouts/index.js";
import { here } from "../case.js";

type Json = Record<string, unknown>;
const doc = readFileSync(fileURLToPath(new URL("../../docs/systems.md", import.meta.url)), "utf8");
const rows = doc
  .slice(doc.indexOf("| published file |"))
  .split("\n\n", 1)[0]!
  .split("\n")
  .slice(2)
  .map((line) => line.split("|").map((cell) => cell.trim()));

/** What their config.json say of themselves. */
const CONFIGS: Readonly<Record<string, Json>> = {
  "llava-hf/llava-1.5-7b-hf": {
    model_type: "llava",
    text_config: { model_type: "llama" },
    vision_config: { model_type: "clip_vision_model" },
  },
  "liuhaotian/llava-v1.5-7b": {
    model_type: "llava",
    mm_vision_tower: "openai/clip-vit-large-patch14-336",
    mm_projector_type: "mlp2x_gelu",
  },
  "HuggingFaceM4/idefics-9b": { model_type: "idefics" },
  "Salesforce/blip2-opt-2.7b": {
    model_type: "blip-2",
    text_config: { model_type: "opt", hidden_size: 2560 },
    use_decoder_only_language_model: true,
  },
  "Salesforce/instructblip-vicuna-7b": {
    model_type: "instructblip",
    text_config: { model_type: "llama" },
    use_decoder_only_language_model: true,
  },
  "Salesforce/blip2-flan-t5-xl": { model_type: "blip-2", text_config: { model_type: "t5" }, use_decoder_only_language_model: false },
  "Salesforce/instructblip-flan-t5-xl": {
    model_type: "instructblip",
    text_config: { model_type: "t5" },
    use_decoder_only_language_model: false,
  },
  "BleachNick/MMICL-Instructblip-T5-xxl": {
    model_type: "instructblip",
    text_config: { model_type: "t5" },
    use_decoder_only_language_model: false,
  },
  "Salesforce/blip2-itm-vit-g": { model_type: "blip-2", architectures: ["Blip2ForImageTextRetrieval"] },
  "llava-hf/llava-v1.6-mistral-7b-hf": { model_type: "llava_next", text_config: { model_type: "mistral" } },
  "liuhaotian/llava-v1.6-mistral-7b": { model_type: "llava_mistral" },
  "liuhaotian/LLaVA-Lightning-MPT-7B-preview": { model_type: "llava_mpt" },
  "llava-hf/llava-onevision-qwen2-7b-ov-hf": { model_type: "llava_onevision" },
  "llava-hf/vip-llava-7b-hf": { model_type: "vipllava" },
  "LanguageBind/Video-LLaVA-7B-hf": { model_type: "video_llava" },
  "HuggingFaceM4/idefics2-8b": { model_type: "idefics2" },
  "luodian/OTTER-Image-MPT7B": { model_type: "otter", text_config: { model_type: "mpt", architectures: ["MPTForCausalLM"] } },
  "luodian/OTTER-9B-LA-InContext": { model_type: "otter", text_config: { model_type: "llama" } },
  "luodian/openflamingo-9b-hf": { model_type: "flamingo", text_config: { model_type: "llama" } },
  "togethercomputer/RedPajama-INCITE-Base-3B-v1": { model_type: "gpt_neox" },
  "anas-awadalla/mpt-1b-redpajama-200b": { model_type: "mosaic_gpt" },
  "google/flan-t5-xl": { model_type: "t5" },
};

async function said(json: Json): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), "anymal-published-"));
  writeFileSync(join(folder, "config.json"), JSON.stringify(json));
  try {
    const asked = [
      AnyMAL.fromPretrained(folder, { device: here }),
      AutoModelForCausalLM.fromPretrained(folder, { device: here }),
      inspectFolder(folder),
    ];
    return (await Promise.allSettled(asked)).map((one) => (one.status === "rejected" ? one.reason.message : "read"));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("the table names every file of this test, and each of its rows is one of the three", () => {
  const named = rows.map(([, name]) => name!.replaceAll("`", ""));
  for (const name of Object.keys(CONFIGS)) assert.ok(named.includes(name), name);
  for (const [, name, loads] of rows) assert.match(loads!, /^(loads|loads through `anymal convert`|refused): /, name);
});

for (const [, name, verdict] of rows) {
  const config = CONFIGS[name!.replaceAll("`", "")];
  if (!config) {
    test(`${name}: without a config.json it is read by convert, or as an adapter`, () => assert.match(verdict!, /^loads/));
    continue;
  }
  test(`${name}: ${verdict!.split(":", 1)[0]}`, async () => {
    const [opened, , inspected] = await said(config);
    if (verdict!.startsWith("loads")) {
      assert.ok(isWhole(config));
      checkText(config);
      assert.match(opened!, /safetensors|weights|checkpoint/i); // nothing but those is missing
      return;
    }
    const sentence = verdict!.slice("refused: ".length).replaceAll("`", "");
    assert.ok(sentence.length > 20);
    const all = await said(config);
    assert.ok(opened!.includes(sentence) || all[1]!.includes(sentence), all.join("\n"));
    if (config.model_type !== "blip-2" && config.model_type !== "instructblip") assert.ok(inspected!.includes(sentence), inspected);
  });
}

test.run();
