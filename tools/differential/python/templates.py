"""Chat templates as transformers renders them."""
import copy

from serve import serve
from transformers.utils.chat_template_utils import _compile_jinja_template


def answer(question):
    template = _compile_jinja_template(question["template"])
    variables = {"tools": None, "documents": None, **question["variables"]}
    return template.render(copy.deepcopy(variables))


serve(answer)
