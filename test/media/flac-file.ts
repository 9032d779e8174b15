// FLAC of constant values: a few bytes a frame, however long it is. https://www.rfc-editor.org/rfc/rfc9639
const crc = (bytes: readonly number[], bits: 8 | 16): number => {
  const [top, poly, mask] = bits === 8 ? [0x80, 0x07, 0xff] : [0x8000, 0x8005, 0xffff];
  return bytes.reduce((sum, byte) => {
    sum ^= byte << (bits - 8);
    for (let bit = 0; bit < 8; ++bit) sum = (sum & top ? (sum << 1) ^ poly : sum << 1) & mask;
    return sum;
  }, 0);
};

export interface FlacOptions {
  rate?: number;
  channels?: number;
  /** Of a frame, at most 65536. */
  block?: number;
  /** Frames that STREAMINFO tells; default: those there are, 0 for an unknown number. */
  told?: number;
}

/** A frame for each value, 16 bits, the same in all channels. */
export function flacOf(values: readonly number[], { rate = 8000, channels = 1, block = 4096, told }: FlacOptions = {}): Buffer {
  const info = Buffer.alloc(34);
  info.writeUInt16BE(Math.min(block, 65535), 0);
  info.writeUInt16BE(Math.min(block, 65535), 2);
  info.writeUInt32BE(((rate << 12) | ((channels - 1) << 9) | (15 << 4)) >>> 0, 10);
  info.writeUInt32BE(told ?? values.length * block, 14);
  const tens = [rate / 2560, rate / 10].map((v) => v & 255); // of Hz
  const frames = values.map((value, i) => {
    const number =
      i < 128 ? [i] : i < 2048 ? [0xc0 | (i >> 6), 0x80 | (i & 63)] : [0xe0 | (i >> 12), 0x80 | ((i >> 6) & 63), 0x80 | (i & 63)];
    const head = [0xff, 0xf8, 0x7e, ((channels - 1) << 4) | 8, ...number, (block - 1) >> 8, (block - 1) & 255, ...tens];
    head.push(crc(head, 8));
    for (let c = 0; c < channels; ++c) head.push(0, (value >> 8) & 255, value & 255);
    const sum = crc(head, 16);
    return Buffer.from([...head, sum >> 8, sum & 255]);
  });
  return Buffer.concat([Buffer.from("fLaC"), Buffer.from([128, 0, 0, 34]), info, ...frames]);
}
