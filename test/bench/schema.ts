// As much of JSON Schema as bench/schema.json says things in.
type Schema = {
  const?: unknown;
  enum?: unknown[];
  type?: string | string[];
  minimum?: number;
  required?: string[];
  properties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
};

/** What does not fit, by place; a keyword that is not known here is an error of the test's. */
export function misfits(value: unknown, schema: Schema, at = "$"): string[] {
  const known = [
    "$schema",
    "title",
    "description",
    "const",
    "enum",
    "type",
    "minimum",
    "required",
    "properties",
    "additionalProperties",
    "items",
  ];
  for (const key of Object.keys(schema)) if (!known.includes(key)) throw new Error(`${at}: keyword ${key}`);
  const found: string[] = [];
  const is = kindOf(value);
  if ("const" in schema && schema.const !== value) found.push(`${at}: ${value}`);
  if (schema.enum && !schema.enum.includes(value)) found.push(`${at}: ${value}`);
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length && !types.includes(is) && !(is === "integer" && types.includes("number"))) found.push(`${at}: ${is}`);
  if (schema.minimum !== undefined && typeof value === "number" && !(value >= schema.minimum)) found.push(`${at}: ${value}`);
  if (schema.items && Array.isArray(value)) found.push(...value.flatMap((item, i) => misfits(item, schema.items as Schema, `${at}[${i}]`)));
  if (is !== "object") return found;
  const fields = value as Record<string, unknown>;
  for (const key of schema.required ?? []) if (!(key in fields)) found.push(`${at}: no ${key}`);
  for (const [key, field] of Object.entries(fields)) {
    const own = schema.properties?.[key];
    const other = schema.additionalProperties ?? true;
    if (own) found.push(...misfits(field, own, `${at}.${key}`));
    else if (other === false) found.push(`${at}: ${key}`);
    else if (other !== true) found.push(...misfits(field, other, `${at}.${key}`));
  }
  return found;
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return Number.isInteger(value) ? "integer" : typeof value;
}
