// Run by libraries.test.ts: the library where the packages that decode are not installed. Prints what each call says, as JSON.
import Module, { register } from "node:module";

const HOOK = `export async function resolve(name, context, next) {
  if (["audio-decode", "sharp"].includes(name)) throw Object.assign(new Error("Cannot find package " + name), { code: "ERR_MODULE_NOT_FOUND" });
  return next(name, context);
}`;
register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
const loader = Module as unknown as { _resolveFilename(name: string, ...rest: unknown[]): string };
const resolve = loader._resolveFilename;
loader._resolveFilename = function (name, ...rest) {
  if (name === "sharp")
    throw Object.assign(new Error('Could not load the "sharp" module using the linux-x64 runtime'), { code: "MODULE_NOT_FOUND" });
  return resolve.call(this, name, ...rest);
};

const { audio, image, loadAudio, loadImage, loadVideo, Tensor, video } = await import("../../lib/index.js");
const [png, flac, bmp, wav, gif] = process.argv.slice(2) as [string, string, string, string, string];
const told = async (what: Promise<unknown>) =>
  what.then(() => "done").catch((error: { code: string; message: string }) => `${error.code} ${error.message}`);
const tensor = Tensor.from([1, 2], [2]);
console.log(
  JSON.stringify({
    tensor: Array.from(await tensor.data()),
    png: await told(loadImage(image(png))),
    bmp: await told(loadImage(image(bmp))),
    gif: await told(loadImage(image(gif))),
    clip: await told(loadVideo(video(gif), 1)),
    flac: await told(loadAudio(audio(flac))),
    wav: await told(loadAudio(audio(wav))),
  }),
);
tensor.dispose();
