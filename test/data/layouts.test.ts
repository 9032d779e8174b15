// Rows as the field's trainers write them: each layout is told by its columns, reads as what it says, and a row of none names the nearest one.
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type RowsOptions, readRows } from "../../lib/data/any-layout.js";
import { readConversations } from "../../lib/data/conversations.js";
import { openRows } from "../../lib/data/open-rows.js";
import type { DataError, Row } from "../../lib/data/row.js";
import { brief, dataError, Folder, rejects } from "./files.js";

let folder: Folder;
test.before.each(() => {
  folder = new Folder();
  for (const name of ["a.png", "b.png", "c.mp3", "d.mp4", "e.csv"]) folder.write(name, "bytes");
});
test.after.each(() => folder.remove());

const text = (value: string) => ({ type: "text", value });
const v1 = (role: string, loss_weight: number, ...content: object[]) => ({ role, content, loss_weight });
const message = (role: string, content: unknown, more = {}) => ({ role, content, ...more });

/** Each layout as its trainer's documents and demo sets have it, and what it says. */
const ROWS: [layout: string, fields: object, want: string[]][] = [
  [
    "llava",
    {
      id: "7",
      image: "a.png",
      conversations: [
        { from: "human", value: "<image>\nWhat?" },
        { from: "gpt", value: "A ring." },
      ],
    },
    ["user: [image:a.png]\nWhat?", "assistant: A ring."],
  ],
  [
    "llava",
    {
      conversations: [
        { from: "human", value: "Hi" },
        { from: "gpt", value: "Hello." },
      ],
    },
    ["user: Hi", "assistant: Hello."],
  ],
  [
    "sharegpt",
    {
      conversations: [
        { from: "human", value: "<image>And <image>?" },
        { from: "gpt", value: "Two." },
      ],
      images: ["a.png", "b.png"],
      system: "Be short.",
    },
    ["system: Be short.", "user: [image:a.png]And [image:b.png]?", "assistant: Two."],
  ],
  [
    "sharegpt", // mllm_demo.json
    { messages: [message("user", "<image>Who are they?"), message("assistant", "Kane.")], images: ["a.png"] },
    ["user: [image:a.png]Who are they?", "assistant: Kane."],
  ],
  [
    "sharegpt", // mllm_video_audio_demo.json
    { messages: [message("user", "<video><audio>What?"), message("assistant", "A girl.")], videos: ["d.mp4"], audios: ["c.mp3"] },
    ["user: [video:d.mp4][audio:c.mp3]What?", "assistant: A girl."],
  ],
  [
    "llama-factory-v1", // v1_sft_demo.jsonl
    { messages: [v1("user", 0, text("hi")), v1("assistant", 1, text("Hello!"))] },
    ["user: hi", "assistant: Hello!"],
  ],
  [
    "llama-factory-v1", // v1_multimodal_mixed_demo.jsonl
    {
      messages: [
        v1("user", 0, { type: "image_url", value: "a.png" }, text("Here is a still image.")),
        v1("assistant", 1, text("I see.")),
        v1("user", 0, { type: "video_url", value: "d.mp4" }, text("Now compare.")),
        v1("assistant", 1, text("It changes.")),
      ],
    },
    ["user: [image:a.png]Here is a still image.", "assistant: I see.", "user: [video:d.mp4]Now compare.", "assistant: It changes."],
  ],
  // By either sign alone: weights around plain texts, parts by `value` without weights.
  [
    "llama-factory-v1",
    { messages: [message("user", "hi", { loss_weight: 0 }), message("assistant", "Hello!", { loss_weight: 1 })] },
    ["user: hi", "assistant: Hello!"],
  ],
  [
    "llama-factory-v1",
    { messages: [message("user", [text("hi")]), message("assistant", [text("Hello!")])] },
    ["user: hi", "assistant: Hello!"],
  ],
  [
    "ms-swift",
    { messages: [message("user", "<audio>What?"), message("assistant", "Rain.", { loss: true })], audios: ["c.mp3"] },
    ["user: [audio:c.mp3]What?", "assistant: Rain."],
  ],
  [
    "ms-swift",
    {
      system: "S.",
      conversation: [
        { human: "one", assistant: "1" },
        { human: "two", assistant: "2" },
      ],
    },
    ["system: S.", "user: one", "assistant: 1", "user: two", "assistant: 2"],
  ],
  [
    "openai",
    {
      messages: [
        message("system", "S."),
        message("user", [
          { type: "text", text: "What? " },
          { type: "image_url", image_url: { url: "a.png" } },
        ]),
        message("assistant", "A ring."),
      ],
    },
    ["system: S.", "user: What? [image:a.png]", "assistant: A ring."],
  ],
  [
    "alpaca", // alpaca_en_demo.json
    { instruction: "Translate.", input: "Haus", output: "house" },
    ["user: Translate.\nHaus", "assistant: house"],
  ],
  [
    "alpaca",
    { system: "S.", instruction: "And this <image>?", input: "", output: "red", history: [["one", "1"]], images: ["a.png"] },
    ["system: S.", "user: one", "assistant: 1", "user: And this [image:a.png]?", "assistant: red"],
  ],
  ["query-response", { query: "two", response: "2", history: [["one", "1"]] }, ["user: one", "assistant: 1", "user: two", "assistant: 2"]],
  ["question-answer", { image: "a.png", question: "What color?", answer: "red" }, ["user: What color?[image:a.png]", "assistant: red"]],
  ["captions", { image: "a.png", caption: "A ring." }, ["user: Describe.[image:a.png]", "assistant: A ring."]],
  ["captions", { audio: "c.mp3", text: "Rain." }, ["user: Describe.[audio:c.mp3]", "assistant: Rain."]],
];

const ask = { prompts: ["Describe."] };
async function told(fields: object, options: RowsOptions = {}): Promise<{ layout: string | undefined; row: string[] }> {
  let layout: string | undefined;
  const path = folder.write("rows.jsonl", JSON.stringify(fields));
  const [row] = await readRows(path, { ...ask, ...options, onLayout: (_, name) => (layout = name) });
  return { layout, row: brief(row as Row, folder) };
}

test("each layout is told, and read as what it says; lazily too, and all of them in one file", async () => {
  for (const [layout, fields, row] of ROWS) assert.equal(await told(fields), { layout, row }, JSON.stringify(fields));
  const path = folder.write("all.jsonl", ROWS.map(([, fields]) => JSON.stringify(fields)).join("\n"));
  const rows = await openRows(path, { ...ask, lazy: true });
  for (const [i, [, , want]] of ROWS.entries()) assert.equal(brief(await rows.row(i), folder), want);
  await rows.close();
});

test("tables of instructions and of questions; of captions and talk the right reader says what is missing", async () => {
  const table = folder.write("t.csv", 'instruction,input,output,history\nTranslate.,Haus,house,"[[""one"", ""1""]]"\nSay hi.,,hi,\n');
  const want = [
    ["user: one", "assistant: 1", "user: Translate.\nHaus", "assistant: house"],
    ["user: Say hi.", "assistant: hi"],
  ];
  assert.equal(
    (await readRows(table)).map((row) => brief(row, folder)),
    want,
  );
  assert.equal(
    (await readConversations(table)).map((row) => brief(row, folder)),
    want,
  );
  const asked = folder.write("q.tsv", "image\tquestion\tanswer\na.png\tWhat?\tred\n");
  assert.equal(brief((await readRows(asked))[0] as Row, folder), ["user: What?[image:a.png]", "assistant: red"]);
  for (const lazy of [false, true])
    await rejects(
      openRows(folder.write("u.csv", "image,words\na.png,x\n"), { lazy }),
      dataError("E_DATA", "u.csv: expected a row of captions, which has caption or text too, got image, words"),
    );
});

test("a row of no layout names the nearest one, and the column that is nearly its", async () => {
  const cases: [object, RegExp][] = [
    [
      { image: "a.png", captions: "x" },
      /expected a row of captions, which has caption or text too, got image, captions; write "captions" as "caption"/,
    ],
    [{ instruction: "a", outputs: "b" }, /expected a row of alpaca, which has output or response too.*; write "outputs" as "output"/],
    [{ mesages: [] }, /which has messages too, got mesages; write "mesages" as "messages"/],
    [{ question: "a", label: 1 }, /a row of question-answer, which has answer too, got question, label; add what is missing/],
    [{ x: 1 }, /expected a row of one of these layouts: llava, .*captions, got x; /],
  ];
  for (const [fields, message] of cases)
    await rejects(readRows(folder.write("r.jsonl", JSON.stringify(fields))), dataError("E_ROW", /r\.jsonl:1/, message));
  assert.equal((await told({ pic: "a.png", says: "x" }, { columns: { image: "pic", caption: "says" } })).row, [
    "user: Describe.[image:a.png]",
    "assistant: x",
  ]);
  // A label that is a number is a caption once it is called one.
  for (const digit of [7, 0]) {
    const labelled = await told({ image: "a.png", digit }, { columns: { caption: "digit" } });
    assert.equal(labelled, { layout: "captions", row: ["user: Describe.[image:a.png]", `assistant: ${digit}`] });
  }
  // A column that goes by our name is gone under its own: here it would make talk of a caption.
  assert.equal((await told({ messages: "a ring", image: "a.png" }, { columns: { caption: "messages" } })).layout, "captions");
  await rejects(
    readRows(folder.write("p.jsonl", '{"__proto__": {"messages": []}, "constructor": 1}')),
    dataError("E_ROW", "one of these layouts"),
  );
});

test("weights of messages: OpenAI's, LLaMA-Factory's and ms-swift's; at 0 an answer is read, and not learned", async () => {
  const turns = async (first: object, last: object, user: object = {}) => {
    const messages = [message("user", "a", user), message("assistant", "1", first), message("user", "b"), message("assistant", "2", last)];
    const [row] = await readRows(folder.write("w.jsonl", JSON.stringify({ messages })));
    return (row as Row).turns.filter(({ role }) => role === "assistant").map(({ weight }) => weight);
  };
  assert.equal(await turns({ weight: 0 }, {}), [0, undefined]);
  assert.equal(await turns({ loss_weight: 0.5 }, { loss_weight: 2 }, { loss_weight: 0 }), [0.5, 2]);
  assert.equal(await turns({ loss: false }, { loss: true }, { loss: false }), [0, 1]);
  assert.equal(await turns({ loss: false }, {}, { loss: true }), [0, undefined]); // of a question it says nothing here
  assert.equal(await turns({ weight: 1e6 }, {}), [1e6, undefined]);
  assert.equal(await turns({ weight: null }, { loss: 0.25 }), [undefined, 0.25]);
  for (const [first, last, user, message] of [
    [{ weight: -1 }, {}, {}, /weight of turn 2 \(assistant\) to be a number from 0/],
    [{ weight: 1.1e6 }, {}, {}, /weight of turn 2 \(assistant\) to be a number from 0 to 1000000/],
    [{ loss: "no" }, {}, {}, /loss of turn 2 \(assistant\) to be a number.*got "no"/],
    [{ weight: 0 }, { weight: 0 }, {}, /an answer that counts, got weights of 0 alone/],
    [{}, {}, { loss_weight: 1 }, /no loss_weight of turn 1 \(user\), or 0, got 1/],
  ] as const)
    await rejects(turns(first, last, user), (error: DataError) => dataError("E_ROW", message)(error));
});

test("what is wrong with an exchange is said of it", async () => {
  for (const [fields, message] of [
    [{ instruction: "a", output: "b", history: [["x"]] }, /exchange 1 of history as \[question, answer\], got a list of 1/],
    [{ query: "a", response: "b", history: "[oops" }, /history as a list of \[question, answer\]/],
    [{ instruction: 7, output: "b" }, /turn 1 \(user\) with text, got 7/],
    [{ instruction: "a", output: "" }, /turn 2 \(assistant\) with text, got ""/],
    [{ conversation: [7] }, /exchange 1 as \{human, assistant\}, got 7/],
  ] as const)
    await rejects(readRows(folder.write("x.jsonl", JSON.stringify(fields))), dataError("E_ROW", message));
});

test.run();
