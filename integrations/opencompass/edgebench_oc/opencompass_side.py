"""A dataset's prompts out of OpenCompass' own classes, without a model: the calls that its inferencers make before they
ask. Checked with OpenCompass 0.5.4. It knows nothing of edgebench's files.
"""

import os
from dataclasses import dataclass, field

from . import Failure
from .scoring import name

# What the export understands, by the inferencer's class.
_GENERATE = ("GenInferencer", "ParallelGenInferencer")
_PPL = ("PPLInferencer",)
# Where neither the inferencer nor a model says.
_MAX_OUT_LEN = 512
_ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}


@dataclass
class Record:
    """What a model sees for one test item. `gold` is as the evaluator gets it."""

    text: str
    gold: object
    messages: list = None
    choices: list = None


@dataclass
class Prompts:
    """All of one dataset. `labels` are those of ppl, in their order; with generation there are none."""

    abbr: str
    records: list
    labels: list = field(default_factory=list)
    stop: list = field(default_factory=list)
    max_out_len: int = _MAX_OUT_LEN
    # The texts are a conversation's, and no plain prompt.
    chat_only: bool = False


def quiet():
    """Without a progress bar for every map over every dataset; to be called before anything is imported."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")


def with_place(dataset_cfg):
    """Makes a path that $COMPASS_DATA_CACHE leads to absolute, so that the evaluation finds the data from anywhere."""
    path, cache = dataset_cfg.get("path"), os.environ.get("COMPASS_DATA_CACHE")
    if not cache or not isinstance(path, str) or os.path.isabs(path) or os.environ.get("DATASET_SOURCE"):
        return
    from opencompass.utils.datasets_info import DATASETS_MAPPING

    local = os.path.join(cache, DATASETS_MAPPING.get(path, {}).get("local") or path)
    if os.path.exists(local):
        dataset_cfg["abbr"] = abbr_of(dataset_cfg)
        dataset_cfg["path"] = os.path.abspath(local)


def abbr_of(dataset_cfg):
    """As OpenCompass names the files of this dataset."""
    from opencompass.utils import dataset_abbr_from_cfg

    return dataset_abbr_from_cfg(dataset_cfg)


def prompts(dataset_cfg, model_cfg):
    """Builds the dataset and every prompt of its test set, in order."""
    abbr = abbr_of(dataset_cfg)
    infer_cfg = dataset_cfg["infer_cfg"]
    inferencer = infer_cfg["inferencer"]
    kind = name(inferencer)
    if kind not in _GENERATE + _PPL or inferencer.get("multiround"):
        known = ", ".join(_GENERATE + _PPL)
        raise Failure(f"{abbr}: the inferencer {kind} asks a model more than once a record; there is: {known}")
    test, retriever, templates = _parts(dataset_cfg)
    meta = model_cfg.get("meta_template")
    golds = _golds(dataset_cfg, test)
    ice = [retriever.generate_ice(ids, ice_template=templates.get("ice_template")) for ids in retriever.retrieve()]
    if kind in _PPL:
        return _ppl(abbr, inferencer, retriever, templates, ice, golds, meta)

    replace = inferencer.get("gen_field_replace_token", "")
    made = [
        retriever.generate_prompt_for_generate_task(i, shots, gen_field_replace_token=replace, **templates)
        for i, shots in enumerate(ice)
    ]
    # A RawPromptTemplate gives messages, which have no plain form.
    raw = bool(made) and isinstance(made[0], list) and all("content" in part for part in made[0])
    texts = ["\n".join(part["content"] for part in prompt) if raw else _text(prompt, "gen", meta) for prompt in made]
    records = [Record(text, gold, _messages(prompt, raw, meta)) for text, gold, prompt in zip(texts, golds, made)]
    return Prompts(
        abbr,
        records,
        stop=list(inferencer.get("stopping_criteria") or []),
        max_out_len=inferencer.get("max_out_len") or model_cfg.get("max_out_len") or _MAX_OUT_LEN,
        chat_only=raw,
    )


def _parts(dataset_cfg):
    """The test set, the retriever, and the templates by their argument's name."""
    from opencompass.registry import ICL_PROMPT_TEMPLATES, ICL_RETRIEVERS
    from opencompass.utils import build_dataset_from_cfg

    infer_cfg = dataset_cfg["infer_cfg"]
    dataset = build_dataset_from_cfg(dataset_cfg)
    retriever = ICL_RETRIEVERS.build({**infer_cfg["retriever"], "dataset": dataset})
    kinds = [kind for kind in ("ice_template", "prompt_template") if infer_cfg.get(kind) is not None]
    return dataset.test, retriever, {kind: ICL_PROMPT_TEMPLATES.build(infer_cfg[kind]) for kind in kinds}


def _golds(dataset_cfg, test):
    column = dataset_cfg["reader_cfg"].get("output_column")
    if not column:
        return [None] * len(test)
    golds = list(test[column])
    post = dataset_cfg.get("eval_cfg", {}).get("dataset_postprocessor")
    if post is None:
        return golds
    from opencompass.registry import TEXT_POSTPROCESSORS

    arguments = {key: value for key, value in post.items() if key != "type"}
    function = TEXT_POSTPROCESSORS.get(post["type"]) if isinstance(post["type"], str) else post["type"]
    return [function(gold, **arguments) for gold in golds]


def _ppl(abbr, inferencer, retriever, templates, ice, golds, meta):
    labels = inferencer.get("labels")
    if labels is None:
        labels = retriever.get_labels(**templates)
        if not any(isinstance(template.template, dict) for template in templates.values()):
            # Out of a set: its order would be another one each time.
            labels = sorted(labels, key=str)
    labels = list(labels)

    def whole(i, shots, label):
        return _text(retriever.generate_label_prompt(i, shots, label, **templates), "ppl", meta)

    none = retriever.generate_ice([], ice_template=templates.get("ice_template")) if "ice_template" in templates else ""
    records = []
    for i, (shots, gold) in enumerate(zip(ice, golds)):
        choices = [whole(i, shots, label) for label in labels]
        question = os.path.commonprefix([whole(i, none, label) for label in labels]).strip()
        records.append(Record(question or choices[0], gold, choices=choices))
    return Prompts(abbr, records, labels=labels)


def _text(prompt, mode, meta):
    from opencompass.models.base import LMTemplateParser

    return str(LMTemplateParser(meta).parse_template(prompt, mode))


def _messages(prompt, raw, meta):
    """The conversation that a chat model gets: empty parts are left out, neighbours of one role are joined."""
    if raw:
        parts = [(part["role"], part["content"]) for part in prompt]
    else:
        from opencompass.models.base_api import APITemplateParser

        # The system's words are the user's, as OpenCompass' own chat models have it.
        default = {"round": [
            {"role": "HUMAN", "api_role": "HUMAN"},
            {"role": "SYSTEM", "api_role": "HUMAN"},
            {"role": "BOT", "api_role": "BOT", "generate": True},
        ]}
        parsed = APITemplateParser(meta or default).parse_template(prompt, "gen")
        parts = [("user", parsed)] if isinstance(parsed, str) else [(_ROLES[p["role"]], p["prompt"]) for p in parsed]
    messages = []
    for role, content in parts:
        if not content:
            continue
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n" + content
        else:
            messages.append({"role": role, "content": content})
    return messages
