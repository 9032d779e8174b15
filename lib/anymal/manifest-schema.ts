// What anymal.json may hold: it comes from whoever made the checkpoint, and a value that nobody knows would be another model without a word.
import { type Check, is, isObject, nearest, type Schema, shown } from "../core/checks.js";
import { MODALITIES, SELECTS } from "./options.js";

/** More than any model has; what is above must not cost memory. */
const upTo = (most: number, least = 0): Check => ({
  wanted: `an integer from ${least} to ${most}`,
  fits: (v) => Number.isInteger(v) && (v as number) >= least && (v as number) <= most,
});
const DTYPE = is.oneOf("f32", "bf16");
const isNull: Check = { wanted: "null", fits: (v) => v === null };

const PLACE: Schema = { path: is.text, id: is.text, revision: is.text, fingerprint: is.text, dtype: DTYPE };
const PROJECTORS: Readonly<Record<string, Schema>> = {
  resampler: {
    type: is.text,
    form: is.oneOf("flamingo", "openflamingo", "idefics"),
    layers: upTo(1024, 1),
    tokens: upTo(65_536, 1),
    heads: upTo(65_536, 1),
    dim: upTo(1_048_576, 1),
    frames: upTo(65_536),
    normalize: is.either(is.oneOf("layernorm", "standardize"), is.not(false)),
  },
  linear: {
    type: is.text,
    mode: is.oneOf("pooled", "per_token"),
    tokens: upTo(65_536, 1),
    dim: upTo(1_048_576, 1),
    normalize: is.either(is.oneOf("layernorm", "standardize"), is.not(false)),
  },
};
const ENTRY: Schema = {
  encoder: is.object,
  projector: is.object,
  layer: { wanted: "an integer from -1024 to 1024", fits: (v) => Number.isInteger(v) && Math.abs(v as number) <= 1024 },
  select: is.oneOf(...SELECTS),
  calibrated: is.flag,
};
const QUANTIZATION: Schema = {
  format: is.oneOf("nf4", "fp4", "int8"),
  block: upTo(65_536, 1),
  doubleQuant: is.flag,
  threshold: is.number(),
};

type Fail = (expected: string, got: string) => never;

/** `fail` throws on what does not fit. Keys that are not here are a later version's. */
export function checkManifest(json: Record<string, unknown>, fail: Fail): void {
  const section = (at: string, value: unknown, schema: Schema, optional: readonly string[] = []): Record<string, unknown> => {
    if (!isObject(value)) return fail(`${at} to be a mapping`, shown(value));
    for (const [key, check] of Object.entries(schema)) {
      const one = Object.hasOwn(value, key) ? value[key] : undefined;
      if ((one === undefined && optional.includes(key)) || check.fits(one)) continue;
      const known =
        /^one of /.test(check.wanted) && typeof one === "string" ? nearest(one.slice(0, 40), check.wanted.slice(7).split(", ")) : undefined;
      fail(`${at}.${key} to be ${check.wanted}`, shown(one) + (known === undefined ? "" : ` (did you mean "${known}"?)`));
    }
    return value;
  };
  const place = (at: string, value: unknown, optional: readonly string[]) => {
    const by = isObject(value) && value.path !== undefined ? ["id", "revision"] : ["path"];
    return section(at, value, PLACE, [...by, ...optional]);
  };
  const { quantization } = place("llm", json.llm, []);
  if (!isNull.fits(quantization) && quantization !== undefined)
    section("llm.quantization", quantization, QUANTIZATION, ["block", "doubleQuant", "threshold"]);
  section("prompt", json.prompt, { template: is.oneOf("chat", "plain"), system: is.either(is.text, { wanted: "empty", fits: (v) => v === "" }), splitSpecialTokens: is.flag }, ["system", "splitSpecialTokens"]); // biome-ignore format: one line
  section("anymal.json", json, { adapter: is.flag, modalities: is.object });
  for (const [modality, entry] of Object.entries(json.modalities as object)) {
    if (!(MODALITIES as readonly string[]).includes(modality)) fail(`modalities among ${MODALITIES.join(", ")}`, shown(modality));
    const { encoder, projector, frames } = section(modality, entry, ENTRY);
    place(`${modality}.encoder`, encoder, ["dtype"]);
    const { type } = projector as { type?: unknown };
    const schema = typeof type === "string" && Object.hasOwn(PROJECTORS, type) ? PROJECTORS[type] : undefined;
    if (!schema) throw fail(`${modality}.projector.type to be one of ${Object.keys(PROJECTORS).join(", ")}`, shown(type));
    const { dim, heads } = section(`${modality}.projector`, projector, schema);
    if (type === "resampler" && (dim as number) % (heads as number))
      fail(`${modality}.projector.heads to divide its dim ${dim}`, shown(heads));
    if (frames !== undefined && frames !== null && !upTo(65_536, 1).fits(frames)) fail(`${modality}.frames to be ${upTo(65_536, 1).wanted}`, shown(frames)); // biome-ignore format: one line
  }
}
