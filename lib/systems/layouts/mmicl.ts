// MMICL's folders (github.com/HaozheZhao/MIC): InstructBLIP's classes and names, with a table that has 21 rows more, for what stands for a picture's rows and for the
// names of pictures. Its Q-Former is told nothing, so that of what was made for text no tensor is read.
import { renamed, type View } from "../../io/views.js";
import { completeBridge } from "../../models/bridges/index.js";
import type { QFormerSetup } from "../../models/bridges/q-former.js";
import { mmicl, ROWS } from "../mmicl.js";
import type { Published, PublishedMedium, TokenizerFacts } from "../published.js";

/** What is InstructBLIP's by its names, where the tokenizer has the names of pictures, or the language model's table just the rows for them. */
export function mmiclOf(published: Published, rows: number, { specialTokens, vocabSize }: TokenizerFacts): Published | undefined {
  // In the order in which its code adds them to Vicuna's tokenizer.
  const grown = [ROWS, ...mmicl.addedTokens];
  const named = mmicl.addedTokens.every((token) => specialTokens.has(token));
  if (!named && rows !== vocabSize + grown.length) return undefined;
  const idOf = (token: string) => (named ? (specialTokens.get(token) as number) : vocabSize + grown.indexOf(token));
  const { image } = published.media as { image: PublishedMedium };
  const { question: _, ...medium } = image;
  const tokens = { tokenIndices: mmicl.addedTokens.map(idOf), targetModules: ["embed_tokens", "lm_head"] };
  return {
    ...published,
    system: mmicl.name,
    written: mmicl.written,
    addedTokens: named ? mmicl.addedTokens : grown,
    media: { image: { ...medium, bridge: untold(image.bridge as View), setup: { ...image.setup, projector: untoldSetup(image) } } },
    adapters: [{ name: "tokens", kind: "trained-tokens", on: "llm", config: tokens }],
  };
}

const WORDS = /^qformer\.(embeddings\.(word|position)_embeddings|encoder\.layer\.\d+\.(intermediate|output))\./;

/** Under the names of a Q-Former that has no words. */
const untold = (bridge: View): View =>
  renamed(bridge, (name) => (WORDS.test(name) ? undefined : name.replace(/^qformer\.embeddings\.layernorm\./, "qformer.layernorm.")));

function untoldSetup({ setup }: PublishedMedium) {
  const { vocabulary: _, positions: __, padding: ___, dim, ...asked } = setup.projector as QFormerSetup;
  return completeBridge({ ...asked, text: false }, dim, 0);
}
