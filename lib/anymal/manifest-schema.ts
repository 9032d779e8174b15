// What anymal.json may hold: it comes from whoever made the checkpoint, and a value that nobody knows would be another model without a word.
import { adapterKindNames } from "../adapters/load-adapter.js";
import { type Check, is, isObject, nearest, type Schema, shown } from "../core/checks.js";
import { FRAME_PICKS } from "../media/clip.js";
import { OWN_NAME } from "../media/kinds/own.js";
import { type BridgeSetup, kindProblem, selects, setupMisfit, setupSchema } from "../models/bridges/index.js";
import { LAYER, SELECTS } from "../models/bridges/select.js";
import { SYSTEM_NAMES } from "../systems/index.js";
import { WORDS } from "./options.js";
import { adapterFolder, isAdapterName } from "./parts.js";
import { WRITTEN_KEYS, WRITTEN_SCHEMA } from "./written.js";

const DTYPE = is.oneOf("f32", "bf16");
const isNull: Check = { wanted: "null", fits: (v) => v === null };

const PLACE: Schema = { path: is.text, own: is.text, id: is.text, revision: is.text, fingerprint: is.text, dtype: DTYPE };
const ENTRY: Schema = {
  encoder: is.object,
  projector: is.object,
  layer: LAYER,
  select: is.oneOf(...SELECTS),
  calibrated: is.flag,
};
const QUANTIZATION: Schema = {
  format: is.oneOf("nf4", "fp4", "int8"),
  block: is.upTo(65_536, 1),
  doubleQuant: is.flag,
  threshold: is.number(),
};

/** A folder is called so: nothing in it leads elsewhere, on any file system. */
const NAME: Check = { wanted: "a name of letters, digits, _ and -, 64 at most", fits: (v) => typeof v === "string" && isAdapterName(v) };
const ADAPTERS: Check = { wanted: "a list of 1024 at most", fits: (v) => Array.isArray(v) && v.length <= 1024 };

type Fail = (expected: string, got: string) => never;

/** `fail` throws on what does not fit; so do both of these. */
function checksOf(fail: Fail) {
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
  const place = (at: string, value: unknown, optional: readonly string[], ways = [["path"], ["id", "revision"]]) => {
    const by = ways.find(([first]) => isObject(value) && value[first as string] !== undefined) ?? ways.at(-1);
    return section(at, value, PLACE, [...["path", "own", "id", "revision"].filter((key) => !by?.includes(key)), ...optional]);
  };
  return { section, place };
}

/** What is said of one kind of media. */
export function checkModality(modality: string, entry: unknown, fail: Fail): void {
  const { section, place } = checksOf(fail);
  if (!OWN_NAME.fits(modality)) fail(`modalities with names of ${OWN_NAME.wanted}`, shown(modality));
  const { encoder, projector, select, frames, picks, pad } = section(modality, entry, ENTRY);
  place(`${modality}.encoder`, encoder, ["dtype"], [["path"], ["own"], ["id", "revision"]]);
  const unknown = kindProblem(projector);
  if (unknown) fail(`${modality}.projector.type to be ${unknown.wanted}`, unknown.got);
  const bridge = projector as unknown as BridgeSetup;
  section(`${modality}.projector`, bridge, setupSchema(bridge));
  if (!(selects(bridge) as readonly unknown[]).includes(select))
    fail(`${modality}.select to be what its projector reads, one of ${selects(bridge).join(", ")}`, shown(select));
  const misfit = setupMisfit(bridge);
  if (misfit) fail(`${modality}.projector.${misfit[0]} ${misfit[1]}`, shown((bridge as unknown as Record<string, unknown>)[misfit[0]]));
  if (picks !== undefined && !FRAME_PICKS.some((one) => one === picks))
    fail(`${modality}.picks to be ${FRAME_PICKS.join(" or ")}, or absent`, shown(picks));
  if (pad !== undefined && pad !== true) fail(`${modality}.pad to be true or absent`, shown(pad));
  if (frames !== undefined && frames !== null && !is.upTo(65_536, 1).fits(frames)) fail(`${modality}.frames to be ${is.upTo(65_536, 1).wanted}`, shown(frames)); // biome-ignore format: one line
}

/** `fail` throws on what does not fit. Keys that are not here are a later version's. */
export function checkManifest(json: Record<string, unknown>, version: 1 | 2, fail: Fail): void {
  const { section, place } = checksOf(fail);
  const { quantization } = place("llm", json.llm, []);
  if (!isNull.fits(quantization) && quantization !== undefined)
    section("llm.quantization", quantization, QUANTIZATION, ["block", "doubleQuant", "threshold"]);
  section("prompt", json.prompt, { template: is.oneOf("chat", "plain"), system: is.either(is.text, { wanted: "empty", fits: (v) => v === "" }), splitSpecialTokens: is.flag, written: is.object }, ["system", "splitSpecialTokens", "written"]); // biome-ignore format: one line
  const { written } = json.prompt as { written?: unknown };
  if (written !== undefined) section("prompt.written", written, WRITTEN_SCHEMA, WRITTEN_KEYS);
  const adapters: Schema =
    version === 1 ? { adapter: is.flag } : { adapters: ADAPTERS, system: is.oneOf(...SYSTEM_NAMES), trained: is.flag, addedTokens: WORDS };
  section("anymal.json", json, { ...adapters, modalities: is.object }, ["system", "trained", "addedTokens"]);
  for (const [modality, entry] of Object.entries(json.modalities as object)) checkModality(modality, entry, fail);
  if (version === 1) return;
  const names = new Set<unknown>();
  for (const [i, one] of (json.adapters as unknown[]).entries()) {
    const at = `adapters[${i}]`;
    const on = is.oneOf("llm", ...Object.keys(json.modalities as object));
    const { name, folder } = section(at, one, { name: NAME, kind: is.oneOf(...adapterKindNames), on, folder: is.text });
    // A folder of another name could lead out of the checkpoint.
    if (folder !== adapterFolder(name as string)) fail(`${at}.folder to be "${adapterFolder(name as string)}"`, shown(folder));
    const place = (name as string).toLowerCase(); // some file systems take them for one
    if (names.has(place)) fail(`${at}.name to be its own`, `${shown(name)} again`);
    names.add(place);
  }
}
