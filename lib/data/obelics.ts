// OBELICS' documents (arXiv 2306.16527): images and texts, two lists of one length in which either is null where the other is not. Pictures are URLs, of which
// those are there that img2dataset has fetched; sets made like it hold them as paths or bytes.
import { type DocumentPiece, documentRow } from "./documents.js";
import type { Fields } from "./messages.js";
import { DataError } from "./row.js";
import { isUrl, joinedRecords } from "./url-tables.js";

export const obelicsRecords = (path: string, signal?: AbortSignal) =>
  joinedRecords(
    path,
    async ({ number, fields }, fetched) => {
      const own = piecesOf(path, number, fields);
      if (own instanceof DataError) return own;
      const pieces: DocumentPiece[] = [];
      for (const piece of own) {
        const isThere = typeof piece === "string" || !isUrl(piece.image);
        const image = isThere ? undefined : await fetched(piece.image as string);
        if (isThere) pieces.push(piece);
        else if (image !== undefined) pieces.push({ image }); // the text goes on without those that nobody has
      }
      return documentRow(pieces, "\n\n");
    },
    signal,
  );

function piecesOf(path: string, number: number, { images, texts }: Fields): DocumentPiece[] | DataError {
  const wrong = (got: string) =>
    new DataError(
      "E_ROW",
      path,
      number,
      "images and texts, lists of one length",
      got,
      "name the reader whose file it is, or leave the row out",
    );
  if (!Array.isArray(images) || !Array.isArray(texts)) return wrong("no such lists");
  if (images.length !== texts.length) return wrong(`${images.length} and ${texts.length}`);
  return images.flatMap((image: unknown, i): DocumentPiece[] => {
    const text: unknown = texts[i];
    if (typeof text === "string" && text.trim()) return [text];
    return image === null || image === undefined ? [] : [{ image }];
  });
}
