// What anymal.json may hold: it comes from whoever made the checkpoint, and a value that nobody knows would be another model without a word.
import { type Check, is, isObject, nearest, type Schema, shown } from "../core/checks.js";
import { type BridgeSetup, kindProblem, selects, setupMisfit, setupSchema } from "../models/bridges/index.js";
import { SELECTS } from "../models/bridges/select.js";
import { MODALITIES } from "./options.js";

const DTYPE = is.oneOf("f32", "bf16");
const isNull: Check = { wanted: "null", fits: (v) => v === null };

const PLACE: Schema = { path: is.text, id: is.text, revision: is.text, fingerprint: is.text, dtype: DTYPE };
const ENTRY: Schema = {
  encoder: is.object,
  projector: is.object,
  layer: { wanted: "an integer from -1024 to 1024", fits: (v) => Number.isInteger(v) && Math.abs(v as number) <= 1024 },
  select: is.oneOf(...SELECTS),
  calibrated: is.flag,
};
const QUANTIZATION: Schema = {
  format: is.oneOf("nf4", "fp4", "int8"),
  block: is.upTo(65_536, 1),
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
    const { encoder, projector, select, frames } = section(modality, entry, ENTRY);
    place(`${modality}.encoder`, encoder, ["dtype"]);
    const unknown = kindProblem(projector);
    if (unknown) fail(`${modality}.projector.type to be ${unknown.wanted}`, unknown.got);
    const bridge = projector as unknown as BridgeSetup;
    section(`${modality}.projector`, bridge, setupSchema(bridge));
    if (!(selects(bridge) as readonly unknown[]).includes(select))
      fail(`${modality}.select to be what its projector reads, one of ${selects(bridge).join(", ")}`, shown(select));
    const misfit = setupMisfit(bridge);
    if (misfit) fail(`${modality}.projector.${misfit[0]} ${misfit[1]}`, shown((bridge as unknown as Record<string, unknown>)[misfit[0]]));
    if (frames !== undefined && frames !== null && !is.upTo(65_536, 1).fits(frames)) fail(`${modality}.frames to be ${is.upTo(65_536, 1).wanted}`, shown(frames)); // biome-ignore format: one line
  }
}
