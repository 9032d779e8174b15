// Decimal places as Python rounds them: by the exact value of a double, ties to the even digit, where JavaScript takes ties away from zero.

/** No double of this size or more has a fraction; toFixed writes an exponent beyond. */
const WHOLE = 1e21;
/** More than the longest tie: what stands behind its 5 would be in the first twenty of them. */
const ALL = 100;

/** As toFixed; `size` is finite and not negative. */
export function fixed(size: number, places: number): string {
  if (size >= WHOLE) return BigInt(size).toString() + (places ? `.${"0".repeat(places)}` : "");
  const exact = size.toFixed(ALL);
  const kept = exact.indexOf(".") + 1 + places;
  return isTieToEven(exact.slice(0, kept), exact.slice(kept)) ? exact.slice(0, places ? kept : kept - 1) : size.toFixed(places);
}

/** As toExponential, with an exponent of at least two digits. */
export function exponential(size: number, places: number): string {
  const [exact, exponent] = size.toExponential(ALL).split("e") as [string, string];
  const kept = 2 + places;
  const text = isTieToEven(exact.slice(0, kept), exact.slice(kept))
    ? `${exact.slice(0, places ? kept : 1)}e${exponent}`
    : size.toExponential(places);
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/** The digits that stay end in an even one, and half of its unit is behind it. */
const isTieToEven = (stays: string, goes: string): boolean => /^50*$/.test(goes) && /[02468]\.?$/.test(stays);
