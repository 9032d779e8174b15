// Pictures.
import { IMAGE_OPTIONS, type ImagePart, image, loadImage, type Pixels } from "../image.js";
import type { Kind } from "./kind.js";

export const imageKind: Kind<ImagePart> = {
  name: "image",
  about: "a picture",
  options: IMAGE_OPTIONS,
  folder: false,
  square: true,
  captionPrompts: ["Describe the image.", "What does the image show?", "Give a caption of the image."],
  part: (source, options) => image(source as ImagePart["source"], options),
  load: loadImage,
  preview: async (part, loading) => ({ pictures: [await loadImage(part, loading)] }),
  blank: async (part, loading) => image(black(await loadImage(part, loading)), part.options),
};

export const black = ({ data, width, height }: Pixels): Pixels => ({ data: new Uint8Array(data.length), width, height });
