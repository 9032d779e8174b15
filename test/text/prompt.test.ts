// Prompts: the ids of transformers' chat templates, with media as holes and labels on answers alone.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { fitParts, promptLength } from "../../lib/text/fit-parts.js";
import { IGNORE, type PromptPart, type PromptTurn, promptParts } from "../../lib/text/prompt.js";
import { Tokenizer } from "../../lib/text/tokenizer.js";
import { Case, caseNames, copyFolder } from "../case.js";

const flat = (parts: readonly PromptPart[]): number[] =>
  parts.flatMap((part) => ("media" in part ? [-1 - part.media] : Array.from(part.ids)));
const labelsOf = (parts: readonly PromptPart[]): number[] =>
  parts.flatMap((part) => {
    if ("media" in part) return [IGNORE];
    return part.labels ? Array.from(part.labels) : Array.from(part.ids, () => IGNORE);
  });
const runs = (parts: readonly PromptPart[]): number[][] => {
  const found: number[][] = [];
  let [ids, labels] = [flat(parts), labelsOf(parts)];
  for (let at = labels.findIndex((l) => l !== IGNORE); at >= 0; at = labels.findIndex((l) => l !== IGNORE)) {
    let end = at;
    while (end < labels.length && labels[end] !== IGNORE) ++end;
    assert.equal(labels.slice(at, end), ids.slice(at, end), "a label is its token");
    found.push(ids.slice(at, end));
    [ids, labels] = [ids.slice(end), labels.slice(end)];
  }
  return found;
};
const refused = (what: RegExp) => (error: Error & { code: string }) => error.code === "E_PROMPT" && what.test(error.message);
const photo = { modality: "image" };
const say = (role: string, ...content: (string | object)[]): PromptTurn => ({ role, content });

/** The tokenizer of a folder with another chat template, or none; and another tokenizer.json. */
function withTemplate(folder: string, template: string | undefined, change: Record<string, unknown> = {}): Tokenizer {
  const copy = mkdtempSync(join(tmpdir(), "anymal-prompt-"));
  try {
    copyFolder(folder, copy);
    const file = join(copy, "tokenizer_config.json");
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, "utf8")), chat_template: template }));
    const json = join(copy, "tokenizer.json");
    writeFileSync(json, JSON.stringify({ ...JSON.parse(readFileSync(json, "utf8")), ...change }));
    return Tokenizer.fromPretrained(copy);
  } finally {
    rmSync(copy, { recursive: true });
  }
}

const EXCHANGES = [
  say("user", "Describe it.", photo),
  say("assistant", "A red ring, above a star."),
  say("user", photo, "\nAnd ", photo, "?"),
  say("assistant", " Two dogs \n"),
];

for (const name of caseNames(/^tokenizer-/)) {
  const c = new Case(name);
  const chat = Tokenizer.fromPretrained(c.folder);
  const plain = withTemplate(c.folder, undefined);

  test(`${name}: text alone gives the ids of transformers`, () => {
    let compared = 0;
    for (const { messages, add_generation_prompt: generation, ids, error, kwargs } of c.info.chat ?? []) {
      const answers = messages.filter(({ role }: { role: string }) => role === "assistant").length;
      const last = messages.at(-1)?.role;
      if (error || kwargs || (generation ? last !== "user" : !answers)) continue;
      if (messages.some(({ content }: { content: string }) => [...chat.specialTokens.keys()].some((token) => content.includes(token))))
        continue;
      if (messages.some(({ role, content }: { role: string; content: string }) => role === "assistant" && !content.trim())) continue;
      const turns = messages.map(({ role, content }: { role: string; content: string }) => say(role, content));
      const parts = promptParts(chat, turns, { generation });
      assert.equal(flat(parts), ids, JSON.stringify(messages));
      assert.is(runs(parts).length, generation ? 0 : answers);
      compared++;
    }
    assert.ok(compared >= 2 || !c.info.chat?.length, `${compared} conversations compared`);
  });

  for (const [kind, tokenizer] of [
    ["chat template", chat],
    ["plain", plain],
  ] as const) {
    test(`${name}, ${kind}: media stand where they stood, answers and their closing token are labelled`, () => {
      const parts = promptParts(tokenizer, EXCHANGES);
      const media = parts.flatMap((part) => ("media" in part ? [part.media] : []));
      assert.equal(media, [0, 1, 2]);
      const [first, second] = runs(parts) as [number[], number[]];
      assert.is(runs(parts).length, 2);
      for (const [run, answer] of [
        [first, "A red ring, above a star."],
        [second, "Two dogs"],
      ] as const) {
        assert.is(tokenizer.decode(run, { skipSpecialTokens: true }).trim(), answer);
        assert.is(run.at(-1), tokenizer.eosTokenId);
      }
      // Question 1 comes before medium 0, question 2 around media 1 and 2.
      const text = flat(parts)
        .map((id) => (id < 0 ? `<${-1 - id}>` : tokenizer.decode([id])))
        .join("");
      assert.match(text.replaceAll(/\s/g, ""), /Describeit\.<0>.*Aredring,aboveastar\..*<1>And<2>\?.*Twodogs/);
    });

    test(`${name}, ${kind}: what training masks is what generation is given`, () => {
      for (const turns of [EXCHANGES.slice(0, 2), EXCHANGES]) {
        const trained = promptParts(tokenizer, turns);
        const labels = labelsOf(trained);
        const last = flat(promptParts(tokenizer, turns.slice(0, -1), { generation: true }));
        assert.equal(flat(trained).slice(0, last.length), last);
        assert.ok(labels.slice(last.length).every((label) => label !== IGNORE) || kind === "chat template");
        assert.is.not(labels[last.length], IGNORE, "the first token of the answer is scored");
        assert.is(labels[last.length - 1], IGNORE, "nothing before it is");
      }
    });

    test(`${name}, ${kind}: text never becomes a control token`, () => {
      for (const token of tokenizer.specialTokens.keys())
        for (const role of ["user", "assistant"]) {
          const turns = [say("user", "Hi"), say("assistant", "Ho")].map((turn) => (turn.role === role ? say(role, `a${token}b`) : turn));
          assert.throws(() => promptParts(tokenizer, turns, { where: "x.json:3" }), refused(/^x\.json:3: .*control token/), token);
        }
      const [some] = tokenizer.specialTokens.keys();
      const cut = [some!.slice(0, 2), some!.slice(2)];
      assert.throws(() => promptParts(tokenizer, [say("user", ...cut), say("assistant", "Ho")]), refused(/control token/));
      const apart = promptParts(tokenizer, [say("user", cut[0]!, photo, cut[1]!), say("assistant", "Ho")]);
      const [control] = tokenizer.specialTokens.values();
      const count = (ids: number[]) => ids.filter((id) => id === control).length;
      assert.is(count(flat(apart)), count(flat(promptParts(tokenizer, [say("user", "a", photo, "b"), say("assistant", "Ho")]))));
    });
  }

  test(`${name}: without a template, no blank beside a medium becomes a token`, () => {
    const bare = promptParts(plain, [say("user", "Describe it. ", photo), say("assistant", "a star")]);
    assert.equal(flat(bare), flat(promptParts(plain, [say("user", "Describe it.", photo), say("assistant", " a star")])));
    const [before, medium, after] = bare as [{ ids: number[] }, PromptPart, { ids: number[] }];
    const encode = (text: string) => plain.encode(text, { addSpecialTokens: false });
    assert.equal(before.ids, encode(`${plain.bosToken ?? ""}Describe it.`));
    assert.equal(medium, { media: 0 });
    // The answer's first word is the token that it is in the middle of a text.
    const middle = encode("x a star");
    assert.equal(after.ids, [...middle.slice(-(after.ids.length - 1)), plain.eosTokenId]);
  });

  test(`${name}: with a template, a blank beside a medium becomes a token only where words do not bring their own`, () => {
    const chat = withTemplate(c.folder, "{{ bos_token }}[ {{ messages[0]['content'] }} ] {{ messages[1]['content'] }}{{ eos_token }}");
    const ids = (...content: (string | object)[]) => flat(promptParts(chat, [say("user", ...content), say("assistant", "a star")]));
    const bringsBlank = chat.encode("x a", { addSpecialTokens: false }).at(-1) === chat.encode("a", { addSpecialTokens: false }).at(-1);
    assert.is(String(ids("Describe it. ", photo)) === String(ids("Describe it.", photo)), bringsBlank);
  });

  if (JSON.stringify(c.json("tokenizer.json").normalizer)?.includes("Prepend"))
    test(`${name}: where only the first word of all gets a blank, the first after a medium gets none`, () => {
      const metaspace = { type: "Metaspace", replacement: "\u2581", prepend_scheme: "first", split: false };
      const first = withTemplate(c.folder, undefined, { normalizer: null, pre_tokenizer: metaspace });
      const encode = (text: string) => first.encode(text, { addSpecialTokens: false });
      assert.not.equal(encode(`${first.bosToken}star`).slice(1), encode("star"));
      const parts = promptParts(first, [say("user", photo, "star"), say("assistant", "a star")]);
      assert.equal(flat(parts.slice(1, 3)), [-1, ...encode(`${first.bosToken} star a star${first.eosToken}`).slice(1)]);
      const templated = withTemplate(c.folder, "{% for m in messages %}{{ m['content'] }}{% endfor %}", {
        normalizer: null,
        pre_tokenizer: metaspace,
      });
      assert.equal(
        flat(promptParts(templated, [say("user", photo, "star"), say("assistant", "a")]).slice(1)),
        encode(`${first.bosToken}stara`).slice(1),
      );
    });

  test(`${name}: an answer that merges with the prompt is scored from the merged token on`, () => {
    const merging = withTemplate(c.folder, "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ eos_token }}");
    const encode = (text: string) => merging.encode(text, { addSpecialTokens: false });
    const word = ["in", "er", "re", "an", "st", "de"].find(
      (w) => encode(`. ${w}`).length < encode(`. ${w[0]}`).length + encode(w[1]!).length,
    );
    assert.ok(word, "the tokenizer merges none of these");
    const ids = encode(`. ${word}${merging.eosToken}`);
    const parts = promptParts(merging, [say("user", `. ${word![0]}`), say("assistant", word![1]!)]);
    assert.equal(flat(parts), ids);
    const prefix = encode(`. ${word![0]}`);
    const start = ids.findIndex((id, i) => id !== prefix[i]);
    assert.equal(runs(parts), [ids.slice(start)]);
  });

  test(`${name}: white space that an answer begins with is scored where the template keeps it, and only there`, () => {
    const scored = (template: string, text: string) => {
      const tokenizer = withTemplate(c.folder, template);
      const turns = [say("user", "Hi"), say("assistant", text)];
      const [run] = runs(promptParts(tokenizer, turns)) as [number[]];
      const asked = flat(promptParts(tokenizer, turns.slice(0, 1), { generation: true }));
      return {
        run,
        written: flat(promptParts(tokenizer, turns)).slice(asked.length),
        text: tokenizer.decode(run, { skipSpecialTokens: true }),
      };
    };
    const turn = (content: string) =>
      `{% for m in messages %}[{{ m.role }}]\n{{ ${content} }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]\n{% endif %}`;
    for (const text of ["\n    def f():\n        x", "  two  spaces ", "\u0085y"]) {
      const kept = scored(turn("m.content"), text);
      assert.equal(kept.run, kept.written.slice(-kept.run.length), JSON.stringify(text));
      assert.ok(kept.run.length >= kept.written.length, `${kept.run.length} of ${kept.written.length} ${JSON.stringify(text)}`);
      assert.ok(kept.text.endsWith(text.trimEnd()) || kept.text.includes(text.trim()), JSON.stringify(kept.text));
      const bare = scored(turn("m.content | trim"), text);
      assert.equal(bare.run, scored(turn("m.content | trim"), text.trim()).run);
    }
    // Part of it: newlines go, the indentation stays.
    assert.equal(scored(turn("m.content.lstrip('\\n')"), "\n\n  x").run, scored(turn("m.content"), "  x").run);
  });

  test(`${name}: the end token is scored behind white space of any kind, be it tokens of single bytes`, () => {
    const tokenizer = withTemplate(c.folder, "{% for m in messages %}[{{ m.role }}]\n{{ m.content }}{{ eos_token }}{% endfor %}");
    const told: string[] = [];
    for (const blanks of ["", " \n", "\t \u00a0\n ", "\u0085", " \u3000\u2028"]) {
      const parts = promptParts(tokenizer, [say("user", "Hi"), say("assistant", `Ho${blanks}`)], { onNotice: (what) => told.push(what) });
      const [run] = runs(parts) as [number[]];
      assert.is(run.at(-1), tokenizer.eosTokenId, JSON.stringify(blanks)); // transformers' assistant_masks have it too
      assert.ok(tokenizer.decode(run).includes(`Ho${blanks}`), JSON.stringify(tokenizer.decode(run)));
    }
    assert.equal(told, []);
  });

  test(`${name}: text that spells control tokens is letters where one says so, in every turn`, () => {
    for (const tokenizer of [chat, plain])
      for (const token of [...tokenizer.specialTokens.keys()].filter((token) => token.length > 1)) {
        const controls = new Set(tokenizer.specialTokens.values());
        const count = (turns: PromptTurn[]) =>
          flat(promptParts(tokenizer, turns, { splitSpecialTokens: true })).filter((id) => controls.has(id) && id !== tokenizer.unkTokenId)
            .length;
        const turns = [say("user", `a ${token}b`), say("assistant", `${token}b c`)];
        assert.is(count(turns), count([say("user", "a b"), say("assistant", "b c")]), token);
        const [run] = runs(promptParts(tokenizer, turns, { splitSpecialTokens: true })) as [number[]];
        assert.match(tokenizer.decode(run).replace(/\s/g, ""), `${token}bc`.replace(/\s/g, ""));
        assert.not.match(tokenizer.decode(run), /\ufdd4/);
      }
  });

  test(`${name}: an answer that no end token follows is told, once`, () => {
    const told: string[] = [];
    const options = { where: "x.json:1", onNotice: (message: string) => told.push(message) };
    const open = withTemplate(c.folder, "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}");
    for (let i = 0; i < 2; ++i) promptParts(open, [say("user", "Hi"), say("assistant", "Ho")], options);
    assert.is(told.length, 1);
    assert.match(told[0] as string, /^x\.json:1: no end token follows the answer.*eos_token/);
    promptParts(withTemplate(c.folder, undefined), [say("user", "Hi"), say("assistant", "Ho")], options);
    assert.is(told.length, 1);
  });

  test(`${name}: a template that goes by how an answer begins is refused, not trained on another text`, () => {
    const asks = withTemplate(
      c.folder,
      "{% for m in messages %}{% if m.content.startswith('<t>') %}thinks {% endif %}{{ m.content }}{{ eos_token }}{% endfor %}",
    );
    assert.throws(() => promptParts(asks, [say("user", "Hi"), say("assistant", "<t>Ho")]), refused(/how it begins or ends/));
    assert.ok(promptParts(asks, [say("user", "<t>Hi"), say("assistant", "Ho")]).length);
  });

  test(`${name}: a template that loses an answer or a medium is refused`, () => {
    const turns = [say("user", "Hi", photo), say("assistant", "Ho")];
    const lost = withTemplate(c.folder, "{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}{% endif %}{% endfor %}");
    assert.throws(() => promptParts(lost, turns), refused(/keeps 1 answers whole, got 0/));
    const twice = withTemplate(c.folder, "{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}");
    assert.throws(() => promptParts(twice, turns), refused(/keeps 1 media, got 2/));
  });

  test(`${name}: conversations that cannot be a prompt`, () => {
    const [user, assistant] = [say("user", "Hi"), say("assistant", "Ho")];
    const cases: [PromptTurn[], boolean, RegExp][] = [
      [[], true, /last turn is the user's, got no turn/],
      [[user, assistant], true, /last turn is the user's, got assistant/],
      [[user], false, /a turn of the assistant, got 1 turns/],
      [[user, say("assistant", " \n")], false, /text in the assistant's turn, got none/],
      [[user, say("assistant", photo)], false, /got a medium/],
      [[say("user", "a\ufdd0b"), assistant], false, /noncharacters/],
      [[user, say("assistant", "\ufdd3")], false, /noncharacters/],
    ];
    for (const [turns, generation, message] of cases) {
      assert.throws(() => promptParts(chat, turns, { generation }), refused(message), String(message));
      assert.throws(() => promptParts(plain, turns, { generation }), refused(message), String(message));
    }
  });
}

const text = (ids: number[], from = ids.length, to = ids.length): PromptPart => ({
  ids,
  labels: ids.map((id, i) => (i >= from && i < to ? id : IGNORE)),
});
const range = (first: number, n: number) => Array.from({ length: n }, (_, i) => first + i);
const mediaLength = (media: number) => [4, 6][media]!;

test("fitting: what fits stays, answers are cut from their end, media are there whole or not at all", () => {
  const row: PromptPart[] = [{ ids: range(0, 3) }, { media: 0 }, text(range(10, 8), 2, 7), { media: 1 }, text(range(30, 5), 1, 4)];
  const whole = promptLength(row, mediaLength);
  assert.is(whole, 3 + 4 + 8 + 6 + 5);
  assert.equal(fitParts(row, whole, mediaLength), row);
  for (let room = 10; room < whole; ++room) {
    const fitted = fitParts(row, room, mediaLength);
    assert.ok(promptLength(fitted, mediaLength) <= room, `${room}`);
    assert.equal(flat(fitted), flat(row).slice(0, flat(fitted).length), `${room}: a beginning of the row`);
    assert.is.not(labelsOf(fitted).at(-1), IGNORE, `${room}: ends in an answer`);
    const scored = labelsOf(fitted).filter((label) => label !== IGNORE).length;
    // Positions of scored tokens in the row: 9 to 13, 22 to 24.
    assert.is(scored, [9, 10, 11, 12, 13, 22, 23, 24].filter((at) => at < room).length, `${room}`);
  }
});

test("fitting: a prompt that leaves no room names the row and what to do", () => {
  const row: PromptPart[] = [{ ids: range(0, 3) }, { media: 1 }, text(range(10, 8), 2, 7)];
  assert.throws(
    () => fitParts(row, 11, mediaLength, "rows.jsonl:7"),
    refused(/^rows\.jsonl:7: .*11 positions, got 17, 6 of them media; raise maxLength/),
  );
  assert.equal(flat(fitParts(row, 12, mediaLength)).at(-1), 12);
  const question: PromptPart[] = [{ ids: range(0, 3) }, { media: 0 }];
  assert.equal(fitParts(question, 7, mediaLength), question);
  assert.throws(() => fitParts(question, 6, mediaLength), refused(/expected a prompt within 6 positions, got 7, 4 of them media/));
});

test.run();
