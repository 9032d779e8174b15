// The kinds of media are values, and nowhere else in lib/ is there a list of them: what a fifth kind needs is there for it too.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KINDS, MODALITIES } from "../../lib/media/kinds/index.js";

const test = suite("kinds of media");
const lib = fileURLToPath(new URL("../../lib", import.meta.url));

/** Who may say the name of a kind, and why. */
const ALLOWED: readonly [file: RegExp, names: string, why: string][] = [
  [/^media\/kinds\//, "image video audio imu", "the kinds"],
  [/^(data\/world\/|cli\/demo-run\.ts$)/, "image video audio imu", "the demo's world is of these four"],
  [/^systems\/.*\.ts$/, "image video audio imu", "what the paper of each system says of them, Table 12 of AnyMAL's"],
  [/^media\/image(-processor)?\.ts$/, "image", "its own parts"],
  [/^media\/video(-processor)?\.ts$/, "video", "its own parts"],
  [/^media\/audio(-processor)?\.ts$/, "audio", "its own parts"],
  [/^media\/imu(-processor)?\.ts$/, "imu", "its own parts"],
  [/^media\/imu-names\.ts$/, "imu video", "words in the names of columns"],
  [/^media\/ffmpeg(-clip)?\.ts$/, "video audio", "what ffmpeg calls the streams of a file"],
  [/^models\/(clip-vision|open-clip-vision|siglip-vision|dinov2|blip2-vision)\.ts$/, "image", "what the encoder takes"],
  [/^models\/(video-mae|vi-clip)\.ts$/, "video", "what the encoder takes"],
  [/^models\/(clap-audio|speech-tower)\.ts$/, "audio", "what the encoder takes"],
  [/^models\/(imu2clip|imu-vit)\.ts$/, "imu", "what the encoder takes"],
  [/^media\/video-sound\.ts$/, "video audio", "a sentence about the sound of videos"],
  [/^io\/key-tables\/towers\.ts$/, "video audio imu", "names in the checkpoints of IMU2CLIP and PRIMUS"],
  [/^io\/key-tables\/whisper\.ts$/, "audio", "what Whisper's file calls its encoder"],
  [/^media\/speech-processor\.ts$/, "audio", "its own parts"],
  [/^data\/sources\/tar\.ts$/, "image video audio imu", "endings of files in shards; a kind that is not there stands in the name itself"],
  [/^cli\/(chat|media-flags|training-flags)\.ts$/, "image video audio imu", "examples in the help"],
  [/^(models\/model-types|cli\/inspect-folder)\.ts$/, "image video audio imu", "what each family of encoders takes, by its model_type"],
  [/^anymal\/export-(llava|blip2)\.ts$/, "image", "they see pictures"],
  [/^(anymal\/first-stage|train\/represent-recipe)\.ts$/, "image", "what BLIP-2's first stage sees where nothing else is said"],
  [/^(train\/bootstrap|train\/synthesis\/described|data\/referential\/write)\.ts$/, "image", "boxes are places in pictures"],
  [/^eval\/tasks\//, "image video audio imu", "what each benchmark asks about"],
  [/^judges\/sheet\.ts$/, "audio", "who judges a sound has to hear it"],
  [
    /^train\/curation\/(clip-score|duplicates|pictures)\.ts$/,
    "image",
    "a CLIP's score, a hash of looks and a function of the user's are of pictures",
  ],
  [/^train\/recipe-data\.ts$/, "image imu", "an example in a sentence"],
  [/^plan\/rows\.ts$/, "image video audio imu", "media that are made up; of other kinds the data is asked for"],
  [/^text\/prompt\.ts$/, "image", "what a chat template takes a part for that says no kind"],
];

const names: ReadonlySet<string> = new Set(MODALITIES);
const words = (text: string): string[] => [...new Set(text.match(/[A-Za-z]+/g)?.filter((word) => names.has(word)))];

/** The names as texts of their own, two of them or more in one text or pattern, and two or more keys of one object or type. */
function saidIn(path: string): Map<string, number> {
  const text = readFileSync(path, "utf8");
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const said = new Map<string, number>();
  const note = (found: readonly string[], node: ts.Node) => {
    for (const name of found) said.set(name, source.getLineAndCharacterOfPosition(node.getStart()).line + 1);
  };
  const look = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return;
    if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node) || ts.isRegularExpressionLiteral(node)) {
      const whole = ts.isStringLiteralLike(node) ? node.text : node.getText();
      if (names.has(whole)) note([whole], node);
      else if (words(whole).length > 1) note(words(whole), node);
    }
    if (ts.isObjectLiteralExpression(node) || ts.isTypeLiteralNode(node) || ts.isInterfaceDeclaration(node)) {
      const members: readonly (ts.ObjectLiteralElementLike | ts.TypeElement)[] = ts.isObjectLiteralExpression(node)
        ? node.properties
        : node.members;
      const keys = members.flatMap(({ name }) => (name && names.has(name.getText()) ? [name.getText()] : []));
      if (keys.length > 1) note(keys, node);
    }
    ts.forEachChild(node, look);
  };
  look(source);
  return said;
}

test("only who is listed with a reason says the name of a kind", () => {
  const unused = new Set(ALLOWED.map(([file]) => file));
  const problems: string[] = [];
  for (const file of readdirSync(lib, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"))) {
    const own = ALLOWED.filter(([pattern]) => pattern.test(file));
    const may = new Set(own.flatMap(([, list]) => list.split(" ")));
    for (const [name, line] of saidIn(join(lib, file))) {
      if (!may.has(name)) problems.push(`lib/${file}:${line}: "${name}"; derive it from KINDS, or list the file here with the reason`);
      for (const [pattern] of own) unused.delete(pattern);
    }
  }
  assert.equal(problems, []);
  assert.equal([...unused].map(String), [], "they say no name any more");
});

test("a kind is called as it is listed", () => {
  for (const [name, kind] of Object.entries(KINDS)) assert.is(kind.name, name);
  assert.equal([...MODALITIES], ["image", "video", "audio", "imu"]);
});

test.run();
