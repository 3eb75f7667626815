"""Metrics of KubeEdge Ianvs for `edgebench_model`: each is called as the column of cases.csv that it shows, with its unit
in its name. What was not measured is NaN, which is an empty field in the leaderboard.
"""

from sedna.common.class_factory import ClassFactory, ClassType

# Names for `metrics` in testenv.yaml.
FIGURES = [
    "load_ms", "ttft_ms_p50", "ttft_ms_p95", "ttft_ms_p99", "itl_ms_p50", "itl_ms_p95", "itl_ms_p99", "e2e_ms_p50",
    "e2e_ms_p95", "e2e_ms_p99", "prefill_tok_s", "decode_tok_s", "output_tok_s", "records_s", "rss_peak_mib",
    "rss_avg_mib", "bandwidth_util", "energy_j", "energy_j_net", "energy_j_per_token", "energy_j_per_record",
    "power_w_avg", "power_w_peak", "temp_c_max", "freq_mhz_min", "wall_s",
]


def _register(name):
    def metric(_, y_pred):
        return y_pred.figures.get(name, float("nan"))

    metric.__name__ = name
    ClassFactory.register(ClassType.GENERAL, alias=name)(metric)


for _name in FIGURES:
    _register(_name)


@ClassFactory.register(ClassType.GENERAL, alias="acc")
def acc(y_true, y_pred):
    """Share of right answers: by the last letter A to D where all answers are such letters, else by the text."""
    golds = [str(gold).strip() for gold in y_true]
    by_letter = all(gold in ("A", "B", "C", "D") for gold in golds)
    answers = [_last_letter(text) if by_letter else text.strip() for text in y_pred]
    return sum(a == b for a, b in zip(answers, golds)) / len(golds)


def _last_letter(text):
    return next((letter for letter in reversed(text) if letter in "ABCD"), None)
