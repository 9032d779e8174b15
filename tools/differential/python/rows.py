"""Training rows: a conversation's ids and which of them the assistant says, as transformers has them; a table of captions as csv and json write it."""
import csv
import json
import random
from pathlib import Path

from serve import serve
from transformers import AutoTokenizer
from transformers.utils import logging

logging.set_verbosity_error()
made = {}


def conversation(question):
    folder = question["folder"]
    if folder not in made:
        made.clear()
        made[folder] = AutoTokenizer.from_pretrained(folder)
    out = made[folder].apply_chat_template(question["messages"], tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    return {"ids": out["input_ids"], "said": out["assistant_masks"]}


WORDS = ["a dog", "two  men", 'a "sign"', "it's", "red, blue", "x;y", "tab\there", "|bar|", "naïve 🙂", "日本", "line\nbreak", "cr\r\nlf", "''", '""', "#1", "=1+2", "\u00a0", "null", "NaN", "1e5", "-"]


def captions(question):
    rng = random.Random(question["seed"])
    folder = Path(question["path"])
    (folder / "in ner").mkdir(parents=True)
    names = ["a.png", "b c.png", "in ner/d,e.png", "é.png", "quo\"te.png", "semi;colon.png"]
    for name in names:
        (folder / name).write_bytes(b"picture")
    rows = []
    for _ in range(rng.randint(1, 8)):
        words = rng.choice(["", "", " ", "\n"]) + rng.choice([" ", "  ", ", "]).join(rng.choice(WORDS) for _ in range(rng.randint(1, 5))) + rng.choice(["", "", " ", "\n"])
        rows.append((rng.choice(names), words if words.strip() else "x"))
    columns = [rng.choice(["image", "image", "file_name"]), rng.choice(["caption", "text"])]
    if rng.random() < 0.4:
        columns.insert(rng.randint(0, 2), rng.choice(["id", "split", "a b", "é"]))
    kind = rng.choice(["csv", "csv", "csv", "jsonl", "json"])
    record = lambda row, i: {"id": i, "split": "train", "a b": '"', "é": ",", "image": row[0], "file_name": row[0], "caption": row[1], "text": row[1]}
    records = [{name: record(row, i)[name] for name in columns} for i, row in enumerate(rows)]
    path = folder / f"rows.{kind}"
    bom = rng.choice(["", "", "\ufeff"])
    if kind == "csv":
        delimiter = rng.choice(",,\t;|")
        with path.open("w", newline="", encoding="utf8") as file:
            file.write(bom)
            writer = csv.DictWriter(file, columns, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]), quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
            writer.writeheader()
            writer.writerows(records)
        with path.open(newline="", encoding="utf-8-sig") as file:
            records = list(csv.DictReader(file, delimiter=delimiter))
    else:
        ascii_ = rng.random() < 0.5
        text = "\n".join(json.dumps(r, ensure_ascii=ascii_) for r in records) if kind == "jsonl" else json.dumps(records, ensure_ascii=ascii_, indent=rng.choice([None, 1]))
        path.write_text(bom + text + rng.choice(["", "\n"]), encoding="utf8", newline="")
        records = [json.loads(line) for line in text.split("\n")] if kind == "jsonl" else json.loads(text)
    pick = lambda r, keys: next(r[key] for key in keys if key in r)
    return {"file": str(path), "named": columns, "rows": [[pick(r, ["image", "file_name"]), pick(r, ["caption", "text"]).strip()] for r in records]}


def answer(question):
    return conversation(question) if "messages" in question else captions(question)


serve(answer)
