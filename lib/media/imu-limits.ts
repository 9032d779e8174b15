// What a recording's file may be.
import { MediaError } from "./error.js";

export const IMU_LIMITS = { maxSeconds: 3600, maxBytes: 256 << 20, maxGap: 1 };

export function textOf(bytes: Uint8Array, what: string): string {
  const utf16 = bytes[0] === 0xff && bytes[1] === 0xfe;
  if (!utf16 && bytes.includes(0))
    throw new MediaError("E_MEDIA_FORMAT", what, "a CSV, JSON or npy file", "binary data", "export the recording as CSV in UTF-8");
  return new TextDecoder(utf16 ? "utf-16le" : "utf-8").decode(bytes);
}
