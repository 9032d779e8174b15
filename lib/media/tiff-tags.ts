// What libvips takes for RGB without a word: a TIFF that holds luma and colour differences outside of JPEG.
const [COMPRESSION, PHOTOMETRIC] = [259, 262];
const YCBCR = 6;
const JPEG = [6, 7];

/** Whether the first picture of a TIFF holds YCbCr that no JPEG decoder will turn into RGB. */
export function isBareYcbcr(bytes: Uint8Array): boolean {
  const tags = shortTags(bytes);
  return tags.get(PHOTOMETRIC) === YCBCR && !JPEG.includes(tags.get(COMPRESSION) ?? 1);
}

/** The first value of every tag of 16 bits in the first directory; what lies beyond the file is left out. */
function shortTags(bytes: Uint8Array): Map<number, number> {
  const tags = new Map<number, number>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 16) return tags;
  const little = bytes[0] === 0x49;
  const big = view.getUint16(2, little) === 43;
  const directory = big ? Number(view.getBigUint64(8, little)) : view.getUint32(4, little);
  const [head, entry] = big ? [8, 20] : [2, 12];
  if (directory + head > bytes.length) return tags;
  const count = big ? Number(view.getBigUint64(directory, little)) : view.getUint16(directory, little);
  for (let i = 0, at = directory + head; i < count && at + entry <= bytes.length; ++i, at += entry)
    if (view.getUint16(at + 2, little) === 3) tags.set(view.getUint16(at, little), view.getUint16(at + (big ? 12 : 8), little));
  return tags;
}
