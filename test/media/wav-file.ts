// WAV files as tests need them: any format, any damage.

export interface WavOptions {
  tag?: number;
  bits?: number;
  channels?: number;
  rate?: number;
  align?: number;
  /** WAVE_FORMAT_EXTENSIBLE around the tag. */
  extensible?: boolean;
  /** What the data chunk says its size is. */
  dataSize?: number;
  /** Chunks before and after the data. */
  before?: [id: string, content: Uint8Array][];
  after?: [id: string, content: Uint8Array][];
  magic?: string;
}

const chunk = (id: string, content: Uint8Array, size = content.length): Buffer => {
  const head = Buffer.alloc(8);
  head.write(id, "latin1");
  head.writeUInt32LE(size, 4);
  return Buffer.concat([head, content, Buffer.alloc(content.length & 1)]);
};

export function wavFile(data: Uint8Array, options: WavOptions = {}): Buffer {
  const { tag = 1, bits = 16, channels = 1, rate = 8000, extensible = false, before = [], after = [], magic = "RIFF" } = options;
  const align = options.align ?? channels * Math.ceil(bits / 8);
  const format = Buffer.alloc(extensible ? 40 : 16);
  format.writeUInt16LE(extensible ? 0xfffe : tag, 0);
  format.writeUInt16LE(channels, 2);
  format.writeUInt32LE(rate, 4);
  format.writeUInt32LE((rate * align) >>> 0, 8);
  format.writeUInt16LE(align, 12);
  format.writeUInt16LE(bits, 14);
  if (extensible) {
    format.writeUInt16LE(22, 16);
    format.writeUInt16LE(bits, 18);
    format.writeUInt16LE(tag, 24);
    Buffer.from("000000001000800000aa00389b71", "hex").copy(format, 26);
  }
  const all = (list: [string, Uint8Array][]) => list.map(([id, content]) => chunk(id, content));
  const body = Buffer.concat([...all(before), chunk("fmt ", format), chunk("data", data, options.dataSize), ...all(after)]);
  const head = Buffer.alloc(12);
  head.write(magic, "latin1");
  head.writeUInt32LE(4 + body.length, 4);
  head.write("WAVE", 8, "latin1");
  return Buffer.concat([head, body]);
}

export const s16 = (values: readonly number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [i, v] of values.entries()) bytes.writeInt16LE(v, 2 * i);
  return bytes;
};

/** A RIFF file's samples, frame by frame, of whatever width: another set of fixtures may have another one. */
export function readWav(bytes: Buffer): { rate: number; frames: number[][] } {
  const chunks = new Map<string, Buffer>();
  for (let at = 12; at + 8 <= bytes.length; ) {
    const size = bytes.readUInt32LE(at + 4);
    chunks.set(bytes.toString("latin1", at, at + 4), bytes.subarray(at + 8, at + 8 + size));
    at += 8 + size + (size & 1);
  }
  const [format, data] = [chunks.get("fmt ")!, chunks.get("data")!];
  const extensible = format.readUInt16LE(0) === 0xfffe;
  const isFloat = format.readUInt16LE(extensible ? 24 : 0) === 3;
  const [channels, width] = [format.readUInt16LE(2), format.readUInt16LE(14) / 8];
  const value = (at: number): number => {
    if (isFloat) return width === 4 ? data.readFloatLE(at) : data.readDoubleLE(at);
    return width === 1 ? (data[at]! - 128) / 128 : data.readIntLE(at, width) / 2 ** (8 * width - 1);
  };
  const frames = Array.from({ length: Math.floor(data.length / (channels * width)) }, (_, i) =>
    Array.from({ length: channels }, (_, c) => value((i * channels + c) * width)),
  );
  return { rate: format.readUInt32LE(4), frames };
}
