// Files of data as large as people have them: rows of text by the million, shards of pictures.
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { packTar } from "modern-tar";
import sharp from "sharp";
import { Draw } from "../lib/data/draw.js";

const SIDE = 64;
const COLORS = { red: "#dc1e1e", green: "#1ec828", blue: "#1e28dc", white: "#f0f0f0" };
/** Rows that are written at once. */
const STRETCH = 50_000;

/** A few small pictures by the names of their colours. */
export async function pictures(folder: string): Promise<string[]> {
  for (const [name, background] of Object.entries(COLORS)) {
    const picture = sharp({ create: { width: SIDE, height: SIDE, channels: 3, background } });
    await writeFile(join(folder, `${name}.png`), await picture.png().toBuffer());
  }
  return Object.keys(COLORS);
}

/** `count` captions of these pictures, one a row. */
export async function captionFile(path: string, count: number, names: readonly string[]): Promise<void> {
  const isCsv = path.endsWith(".csv");
  const row = (i: number) => {
    const [image, caption] = [`${names[i % names.length]}.png`, `number ${i}, a ${names[i % names.length]} square`];
    return isCsv ? `${image},"${caption}"` : JSON.stringify({ image, caption });
  };
  const file = await open(path, "w");
  try {
    if (isCsv) await file.write("image,caption\n");
    for (let from = 0; from < count; from += STRETCH)
      await file.write(Array.from({ length: Math.min(STRETCH, count - from) }, (_, i) => `${row(from + i)}\n`).join(""));
  } finally {
    await file.close();
  }
}

/** `count` samples of `bytes` random bytes, which no packing makes smaller, and a caption each. */
export async function shard(path: string, count: number, bytes: number): Promise<void> {
  const draw = new Draw(0, "shard");
  const noise = Uint8Array.from({ length: bytes + count }, () => draw.below(256));
  const media = Array.from({ length: count }, (_, i) => noise.subarray(i, i + bytes));
  const captions = media.map((_, i) => `number ${i}`);
  if (path.endsWith(".tar")) {
    const entry = (name: string, body: Uint8Array) => ({ header: { name, size: body.byteLength, type: "file" as const }, body });
    const entries = media.flatMap((body, i) => [
      entry(`${String(i).padStart(6, "0")}.jpg`, body),
      entry(`${String(i).padStart(6, "0")}.txt`, Buffer.from(captions[i] as string)),
    ]);
    await writeFile(path, await packTar(entries));
    return;
  }
  const columnData = [
    { name: "image", data: media, type: "BYTE_ARRAY" as const },
    { name: "caption", data: captions, type: "STRING" as const },
  ];
  await writeFile(path, new Uint8Array(parquetWriteBuffer({ columnData, rowGroupSize: 100 })));
}
