"""Answers each line of JSON on stdin with one on stdout; an exception is {"error": ...}."""
import json
import sys


def serve(answer):
    out = sys.stdout
    sys.stdout = sys.stderr  # whatever a package prints is no answer
    for line in sys.stdin:
        try:
            reply = {"value": answer(json.loads(line))}
        except BaseException as problem:  # noqa: BLE001: every refusal is an answer, a panic of Rust too
            reply = {"error": f"{type(problem).__name__}: {problem}"}
        out.write(json.dumps(reply) + "\n")
        out.flush()
