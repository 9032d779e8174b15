// `npm run random-checkpoint -- FOLDER [options]`: a LLaMA of random weights in Hugging Face layout; as it comes, LLaMA 2 of 7 B in bf16: 13.5 GB.
import { parseArgs } from "node:util";
import { LLAMA_2_7B, type RandomCheckpointOptions, randomCheckpoint } from "./make.js";

const USAGE = `npm run random-checkpoint -- FOLDER [options]
--hidden ${LLAMA_2_7B.hidden}  --intermediate ${LLAMA_2_7B.intermediate}  --layers ${LLAMA_2_7B.layers}  --heads ${LLAMA_2_7B.heads}  --kv-heads ${LLAMA_2_7B.kvHeads}  --vocabulary ${LLAMA_2_7B.vocabulary}  --tied
--dtype bf16 | f16 | f32    --shard-bytes 5e9    --seed 0    --tokenizer FOLDER, to copy one from`;

const number = { type: "string" } as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hidden: number,
    intermediate: number,
    layers: number,
    heads: number,
    "kv-heads": number,
    vocabulary: number,
    tied: { type: "boolean" },
    dtype: { type: "string" },
    "shard-bytes": number,
    seed: number,
    tokenizer: { type: "string" },
    help: { type: "boolean" },
  },
});

const dtypes = ["bf16", "f16", "f32"] as const;
const dtype = dtypes.find((name) => name === (values.dtype ?? "bf16"));
const [folder] = positionals;
if (values.help || !folder || !dtype) {
  console.log(USAGE);
  process.exitCode = values.help ? 0 : 2;
} else {
  const given = {
    hidden: values.hidden,
    intermediate: values.intermediate,
    layers: values.layers,
    heads: values.heads,
    kvHeads: values["kv-heads"] ?? values.heads,
    vocabulary: values.vocabulary,
    shardBytes: values["shard-bytes"],
    seed: values.seed,
  };
  const sizes = Object.fromEntries(
    Object.entries(given).flatMap(([key, value]) => (value === undefined ? [] : [[key, sizeOf(key, value)]])),
  );
  const options: RandomCheckpointOptions = { ...sizes, dtype, tied: values.tied ?? false };
  if (values.tokenizer) options.tokenizer = values.tokenizer;
  const start = performance.now();
  const bytes = await randomCheckpoint(folder, {
    ...options,
    onShard: (file, size) => console.log(`${file}  ${(size / 1e9).toFixed(2)} GB`),
  });
  console.log(`${folder}: ${(bytes / 1e9).toFixed(2)} GB in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

function sizeOf(key: string, value: string): number {
  const size = Number(value);
  if (!Number.isSafeInteger(size) || size < (key === "seed" ? 0 : 1))
    throw new RangeError(`--${key}: expected a whole number, got ${value}`);
  return size;
}
