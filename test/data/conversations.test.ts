// LLaVA's conversations: media meet their marks, and what cannot be learned from is named.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { readConversations } from "../../lib/data/conversations.js";
import type { DataError } from "../../lib/data/row.js";
import { brief, dataError, Folder, rejects } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  for (const name of ["a.png", "b.png", "c.wav", "d.gif", "e.csv"]) folder.write(name, "bytes");
});
test.after.each(() => folder.remove());

const human = (value: unknown) => ({ from: "human", value });
const gpt = (value: unknown) => ({ from: "gpt", value });
const row = (...conversations: unknown[]) => ({ id: "7", conversations });
const read = async (...rows: unknown[]) =>
  (await readConversations(folder.write("rows.json", JSON.stringify(rows)))).map((made) => brief(made, folder));
const readOne = async (fields: object) => (await read(fields))[0];

test("marks become the row's media in reading order, each modality for itself", async () => {
  assert.equal(await readOne({ image: "a.png", ...row(human("<image>\nWhat?"), gpt("A ring.")) }), [
    "user: [image:a.png]\nWhat?",
    "assistant: A ring.",
  ]);
  const mixed = {
    image: ["a.png", "b.png"],
    audio: "c.wav",
    video: ["d.gif"],
    imu: "e.csv",
    ...row(
      { from: "system", value: "Be short." },
      human("<audio> <image><imu>?"),
      gpt("One."),
      human("And <image>, <video>"),
      gpt(" Two. "),
    ),
  };
  const want = [
    "system: Be short.",
    "user: [audio:c.wav] [image:a.png][imu:e.csv]?",
    "assistant: One.",
    "user: And [image:b.png], [video:d.gif]",
    "assistant:  Two. ",
  ];
  assert.equal(await readOne(mixed), want);
});

test("media without any mark follow the first question; those with marks stay", async () => {
  const fields = { image: ["a.png", "b.png"], audio: "c.wav", ...row(human("Hear <audio>"), gpt("x"), human("More?"), gpt("y")) };
  assert.equal((await readOne(fields))![0], "user: Hear [audio:c.wav][image:a.png][image:b.png]");
  assert.equal(await readOne(row(human("No media <b>at</b> <images>?"), gpt("Yes"))), [
    "user: No media <b>at</b> <images>?",
    "assistant: Yes",
  ]);
});

test("other hands: JSONL, messages with roles, plurals, a system field", async () => {
  const fields = {
    system: "Be short.",
    images: ["a.png"],
    messages: [
      { role: "user", content: "<image>?" },
      { role: "assistant", content: "x" },
    ],
  };
  const want = ["system: Be short.", "user: [image:a.png]?", "assistant: x"];
  assert.equal(await readOne(fields), want);
  const path = folder.write("rows.jsonl", `${JSON.stringify(fields)}\n${JSON.stringify(fields)}`);
  assert.equal(
    (await readConversations(path)).map((made) => brief(made, folder)),
    [want, want],
  );
});

test("a count of media that does not match the marks names row, counts and remedy", async () => {
  const cases: [object, RegExp][] = [
    [
      { image: "a.png", ...row(human("<image> <image>"), gpt("x")) },
      /expected one image for every <image>, got 2 marks and 1 under "image"; add/,
    ],
    [{ image: ["a.png", "b.png"], ...row(human("<image>?"), gpt("x")) }, /got 1 marks and 2 under "image"/],
    [{ image: "a.png", ...row(human("<image> <audio>"), gpt("x")) }, /expected one audio for every <audio>, got 1 marks and 0/],
    [{ ...row(human("<imu>"), gpt("x")) }, /expected one imu for every <imu>, got 1 marks and 0/],
  ];
  for (const [fields, message] of cases)
    await rejects(read(row(human("a"), gpt("b")), fields), dataError("E_ROW", /rows\.json:2: /, message));
});

test("turns that are wrong", async () => {
  const cases: [object, RegExp][] = [
    [row(human("a"), { from: "bot", value: "b" }), /turn 2 from human, gpt or system, got "bot"; rename/],
    [row(human("a"), { from: "constructor", value: "b" }), /got "constructor"/],
    [row(human("a"), { value: "b" }), /turn 2 from human, gpt or system, got nothing/],
    [row(gpt("a"), human("b")), /human first, got gpt as number 1/],
    [row(human("a"), human("b")), /got human as number 2/],
    [row(human("a"), gpt("b"), gpt("c")), /got gpt as number 3/],
    [row(human("a"), { from: "system", value: "b" }, gpt("c")), /the system's turn first, got it as turn 2/],
    [row(human("a"), gpt("b"), human("c")), /an answer to every question, got none to the last/],
    [row({ from: "system", value: "a" }), /an answer to every question/],
    [row(human("a"), gpt(" \n")), /turn 2 \(gpt\) with text, got " \\n"/],
    [row(human(""), gpt("b")), /turn 1 \(human\) with text, got ""/],
    [row(human(["a"]), gpt("b")), /turn 1 \(human\) with text, got a list of 1/],
    [row(human("a"), gpt("see <video>")), /an answer of words in turn 2, got <video>/],
    [row("a", "b"), /turn 1 as \{from, value\}, got "a"/],
    [row(), /conversations, a list of turns, got a list of 0/],
    [{ conversations: "a" }, /a list of turns, got "a"/],
    [{ id: 7, image: "a.png" }, /a list of turns, got id, image/],
    [{ image: "no.png", ...row(human("<image>"), gpt("b")) }, /the image file no\.png, got no such file/],
    [{ image: [["a.png"]], ...row(human("<image>"), gpt("b")) }, /the path of the image, got a list of 1/],
  ];
  const good = row(human("good"), gpt("fine"));
  for (const [fields, message] of cases) {
    const problems: DataError[] = [];
    const path = folder.write("rows.jsonl", [good, fields, good].map((entry) => JSON.stringify(entry)).join("\n"));
    const rows = await readConversations(path, { onBadRow: "skip", onProblem: (problem) => problems.push(problem) });
    assert.equal(
      rows.map(({ where }) => where),
      [`${path}:1`, `${path}:3`],
      String(message),
    );
    assert.equal(
      problems.map(({ row }) => row),
      [2],
      String(message),
    );
    assert.match(problems[0]!.message, message);
  }
  await rejects(readConversations(folder.write("rows.csv", "image,caption\n")), dataError("E_DATA", "a table"));
});

test.run();
