// Writes expected.json, through an ffmpeg that is installed: `npx tsx test/media/files/clips/expected.ts FFMPEG`.
import { readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { ASKED, gridOf } from "../../clip-grid.js";

const folder = fileURLToPath(new URL(".", import.meta.url));
const [ffmpeg = "ffmpeg"] = process.argv.slice(2);
const all: Record<string, unknown> = {};
for (const name of readdirSync(folder).filter((file) => /\.(mp4|mov|webm|mkv)$/.test(file)))
  all[name] = await Promise.all(ASKED.map(([frames, options]) => gridOf(`${folder}${name}`, frames, { ...options, ffmpeg })));
writeFileSync(`${folder}expected.json`, `${JSON.stringify(all)}\n`);
