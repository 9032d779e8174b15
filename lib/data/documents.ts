// Documents of texts and pictures as exchanges: pictures are asked, and what stands up to the next ones is answered; what stands before the first is asked too.

/** A picture as a row names it, or a text. */
export type DocumentPiece = { readonly image: unknown } | string;

/** undefined where no text follows a picture. `between`: what stands between two texts of an answer. */
export function documentRow(pieces: Iterable<DocumentPiece>, between: string) {
  const images: unknown[] = [];
  const conversations: { from: string; value: string }[] = [];
  let [lead, waiting] = ["", [] as unknown[]];
  for (const piece of pieces) {
    const last = conversations.at(-1);
    if (typeof piece !== "string") waiting.push(piece.image);
    else if (waiting.length) {
      images.push(...waiting);
      conversations.push({ from: "human", value: `${last ? "" : lead}${"<image>".repeat(waiting.length)}` }, { from: "gpt", value: piece });
      waiting = [];
    } else if (last) last.value += between + piece;
    else lead += `${piece}\n`;
  }
  return conversations.length ? { images, conversations } : undefined;
}
