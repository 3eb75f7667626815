"""How OpenCompass judges an output, in the keys of a task: post-processors become `extract`, evaluators `correct`.

It reads names and arguments only, and knows no class. What has no counterpart is said: then OpenCompass alone judges.
"""

import re
from dataclasses import dataclass, field

# \W, \s and \d are Unicode's in Python and ASCII's on the board; these are the characters that matter in Chinese and
# English text: ASCII's own, general punctuation, CJK symbols and full-width forms.
_SPACE = r"\t-\r\x1c-\x20\u{85}\u{a0}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}"
_NO_WORD = (
    r"\x00-\x2f\x3a-\x40\x5b-\x5e\x60\x7b-\x7f\u{80}-\u{a9}\u{ab}-\u{b1}\u{2000}-\u{206f}\u{3000}-\u{3004}"
    r"\u{3008}-\u{3020}\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff20}\u{ff3b}-\u{ff3e}\u{ff40}\u{ff5b}-\u{ff65}"
)

# Evaluators that compare texts, by class name. All give `accuracy`, in percent.
_SAME_TEXT = ("AccEvaluator", "AccwithDetailsEvaluator")


@dataclass
class Scoring:
    """Keys of a generate task; `why` tells what is OpenCompass' alone, and is empty where both judge alike."""

    keys: dict = field(default_factory=dict)
    why: str = ""


def of_generation(eval_cfg):
    """The scoring of a task whose outputs are texts."""
    evaluator = name(eval_cfg.get("evaluator"))
    post = eval_cfg.get("pred_postprocessor")
    steps = None if post is None else _steps(name(post), dict(post))
    if "pred_role" in eval_cfg:
        pass  # Only for models with a meta template, whose marks no output of the board has.
    if post is not None and steps is None:
        return Scoring(why=f"{name(post)} is Python")
    keys = {"extract": steps or ["trim"], "compat": "opencompass"}
    if evaluator in _SAME_TEXT:
        return Scoring({**keys, "correct": "exact_match"})
    if evaluator == "Gsm8kEvaluator":
        return Scoring({**keys, "correct": "number_match"})
    return Scoring(why=f"{evaluator} is Python")


def of_labels(eval_cfg):
    """Why our accuracy on labels that were chosen by ppl is not OpenCompass' figure; empty where it is."""
    evaluator = name(eval_cfg.get("evaluator"))
    if "pred_postprocessor" in eval_cfg and name(eval_cfg["pred_postprocessor"]) != "first_capital_postprocess":
        return f"{name(eval_cfg['pred_postprocessor'])} is Python"
    return "" if evaluator in _SAME_TEXT else f"{evaluator} is Python"


def name(cfg):
    """The last part of what a config calls the type: of a class, a function, a dotted path, a registered word."""
    kind = cfg.get("type") if hasattr(cfg, "get") else cfg
    if isinstance(kind, str):
        return kind.rsplit(".", 1)[-1]
    return getattr(kind, "__name__", str(kind))


def _steps(kind, arguments):
    """The steps of `extract` that do what a post-processor does; `None` where none do."""
    options = arguments.get("options", "")
    # The steps know how many letters there are, from A on.
    letters = options == "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options)] and options
    if kind in ("first_capital_postprocess", "first-capital"):
        return ["first_capital"]
    if kind == "first_option_postprocess" and letters and arguments.get("cushion", True):
        return [f"first_option:{options}"]
    if kind == "last_option_postprocess" and letters:
        return [f"last_option:{options}"]
    if kind in ("gsm8k_postprocess", "gsm8k"):
        return ["before:Question:", "last_number"]
    if kind == "match_answer_pattern":
        pattern = _pattern(arguments.get("answer_pattern", ""))
        return pattern and [f"regex:{pattern}"]
    return None


def _pattern(source):
    """A Python expression for the board's engine, which has no look-around and no back-references; `None`: not possible."""
    if re.search(r"\(\?[=!<]|\(\?P[=>]|\\[1-9bBwpA-CE-RT-VX-Z]", source):
        return None
    inside = False
    out = []
    for piece in re.findall(r"\\.|.", source, re.DOTALL):
        if piece == "[" and not inside:
            inside = True
        elif piece == "]" and inside:
            inside = False
        elif piece in (r"\s", r"\W"):
            members = _SPACE if piece == r"\s" else _NO_WORD
            piece = members if inside else f"[{members}]"
        elif piece in (r"\S", r"\D") and inside:
            return None
        elif piece == r"\S":
            piece = f"[^{_SPACE}]"
        out.append(piece)
    return "".join(out)
