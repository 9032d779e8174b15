"""Splits and replaces as tokenizers (Rust) does."""
from serve import serve
from tokenizers import Regex, normalizers, pre_tokenizers

BEHAVIORS = {
    "Isolated": "isolated",
    "Removed": "removed",
    "MergedWithPrevious": "merged_with_previous",
    "MergedWithNext": "merged_with_next",
    "Contiguous": "contiguous",
}


def answer(question):
    pattern = question["pattern"]
    pattern = Regex(pattern["Regex"]) if "Regex" in pattern else pattern["String"]
    split = pre_tokenizers.Split(pattern, BEHAVIORS[question["behavior"]], question["invert"])
    return {
        "words": [word for word, _ in split.pre_tokenize_str(question["text"])],
        "replaced": normalizers.Replace(pattern, question["content"]).normalize_str(question["text"]),
    }


serve(answer)
