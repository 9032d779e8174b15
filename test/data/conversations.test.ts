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
  ];
  for (const [fields, message] of cases)
    await rejects(read(row(human("a"), gpt("b")), fields), dataError("E_ROW", /rows\.json:2: /, message));
});

test("turns that are wrong", async () => {
  const cases: [object, RegExp][] = [
    [row(human("a"), { from: "bot", value: "b" }), /turn 2 from human, gpt or system, got "bot"; rename/],
    [row(human("a"), { from: "constructor", value: "b" }), /got "constructor"/],
    [row(human("a"), { value: "b" }), /turn 2 from human, gpt or system, got nothing/],
    [row(gpt("a"), human("b")), /an answer to at least one question, got none/],
    [row(human("a"), human("b")), /an answer to at least one question/],
    [row(human("a"), gpt("b"), gpt("c")), /two of gpt in a row, the second as turn 3/],
    [row(human("a"), { from: "system", value: "b" }, gpt("c")), /the system's turn first, got it as turn 2/],
    [row({ from: "system", value: "a" }), /an answer to at least one question/],
    [row(human("a"), gpt(" \n")), /turn 2 \(gpt\) with text, got " \\n"/],
    [row(human(""), gpt("b")), /turn 1 \(human\) with text, got ""/],
    [row(human([7]), gpt("b")), /part 1 of turn 1 \(human\) as \{type, …\}, got 7/],
    [row(human([]), gpt("b")), /turn 1 \(human\) with text, got a list of 0/],
    [row(human([{ type: "text", text: " " }]), gpt("b")), /turn 1 \(human\) with text, got a list of 1/],
    [row(human([{ type: "tool_result", text: "x" }]), gpt("b")), /part 1 of turn 1 \(human\) of text or image.*got "tool_result"/],
    [row(human([{ type: "image" }, "What?"]), gpt("b")), /one image for every <image>, got 1 marks and 0/],
    [row(human([{ type: "image", image: 7 }]), gpt("b")), /the path of the image in part 1 of turn 1 \(human\), got 7/],
    [row(human([{ type: "image_url", image_url: { url: "https://a.b/c.png" } }]), gpt("b")), /a network address/],
    [row(human([{ type: "image", image: "no.png" }]), gpt("b")), /the image file no\.png, got no such file/],
    [row(human("a"), gpt([{ type: "image", image: "a.png" }])), /an answer of words in turn 2, got <image>/],
    [row(human("a"), { role: "assistant", content: null }), /turn 2 \(assistant\) with text, got null/],
    [row(human("a"), { role: "tool", content: "x" }), /turn 2 from human, gpt or system, got "tool"; rename/],
    [{ image: "a.png", ...row(human("<image>a"), gpt("see <video>")) }, /an answer of words in turn 2, got <video>/],
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
  await rejects(readConversations(folder.write("rows.csv", "image,caption\na.png,x\n")), dataError("E_DATA", "a table"));
});

test("LLaVA's own mixture: what it leaves out or takes for text is left out or text here too", async () => {
  const hello = [human("hello"), gpt("hi")];
  const said = ["user: hello", "assistant: hi"];
  const rows: [object, string[]][] = [
    [{ id: "wgByO4Y_0", model: "", conversations: hello }, said],
    [row(gpt("an opening"), ...hello), said],
    [row(gpt("one"), { from: "system", value: "x" }, ...hello), []], // the system's turn is not the first
    [row(human("one"), human("two"), gpt("hi")), ["user: one\ntwo", "assistant: hi"]],
    [row(...hello, human("and?")), said],
    [row(...hello, human("and?"), human("so?")), said],
    [row(human("write HTML: <image> is no tag"), gpt("use <img>")), ["user: write HTML: <image> is no tag", "assistant: use <img>"]],
    [row(human("what of <image> and <video>?"), gpt("Not <image>.")), ["user: what of <image> and <video>?", "assistant: Not <image>."]],
    [{ image: null, ...row(...hello) }, said],
    [{ image: "", ...row(...hello) }, said],
    [{ image: [], images: " ", ...row(...hello) }, said],
    [{ image: "a.png", ...row(human("what?"), gpt("red")) }, ["user: what?[image:a.png]", "assistant: red"]],
    [
      { image: ["a.png", "b.png"], ...row(human("<image>"), human("and <image>?"), gpt("red")) },
      ["user: [image:a.png]\nand [image:b.png]?", "assistant: red"],
    ],
  ];
  for (const [fields, want] of rows) {
    if (want.length) assert.equal(await readOne(fields), want, JSON.stringify(fields));
    else await rejects(read(fields), dataError("E_ROW", "the system's turn first"));
  }
});

test("OpenAI's, Qwen-VL's and transformers' lists of parts are the LLaVA row with the mark in the part's place", async () => {
  const text = (value: string) => ({ type: "text", text: value });
  const talk = (content: unknown[], more = {}) => ({
    ...more,
    messages: [
      { role: "developer", content: [text("Be short.")] },
      { role: "user", content },
      { role: "assistant", content: [text("red")] },
    ],
  });
  const want = (user: string) => ["system: Be short.", `user: ${user}`, "assistant: red"];
  const color = text("what color is it?");
  for (const image of [
    { type: "image", image: "a.png" },
    { type: "image_url", image_url: { url: "a.png", detail: "low" } },
    { type: "image_url", image_url: "a.png" },
    { type: "input_image", image_url: "a.png" },
    { type: "image", url: "a.png" },
    { type: "image", path: "a.png" },
    { image: "a.png" },
  ])
    assert.equal(await readOne(talk([image, color])), want("[image:a.png]what color is it?"), JSON.stringify(image));
  assert.equal(
    await readOne({ image: "a.png", ...row({ from: "system", value: "Be short." }, human("<image>what color is it?"), gpt("red")) }),
    want("[image:a.png]what color is it?"),
  );
  assert.equal(await readOne(talk([{ type: "image" }, color], { images: ["a.png"] })), want("[image:a.png]what color is it?"));
  assert.equal(await readOne(talk([text("<image>what?")], { images: ["a.png"] })), want("[image:a.png]what?"));
  assert.equal(await readOne(talk([{ type: "image", image: "a.png" }, text("no <image> tag")])), want("[image:a.png]no <image> tag"));
  assert.equal(
    await readOne(
      talk([text("hear "), { type: "audio", audio: "c.wav" }, { type: "video", video: "d.gif" }, { type: "imu", imu: "e.csv" }]),
    ),
    want("hear [audio:c.wav][video:d.gif][imu:e.csv]"),
  );
  const data = Buffer.from("bytes").toString("base64");
  assert.equal(
    await readOne(talk([{ type: "input_audio", input_audio: { data, format: "wav" } }, color])),
    want(`[audio:data:audio/wav;base64,${data}]what color is it?`),
  );
  assert.equal(
    await readOne(talk([{ type: "audio", data, mime_type: "audio/flac" }, color])), // a MIME type names the kind itself
    want(`[audio:data:audio/flac;base64,${data}]what color is it?`),
  );
  assert.equal(await readOne(talk([{ type: "image", base64: data }, color])), want(`[image:data:image/*;base64,${data}]what color is it?`));
});

test.run();
