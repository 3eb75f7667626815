"""What the board measured, inside a Hugging Face `Trainer`: `edgebench watch` judges its checkpoints, this listens."""

import json
import time
from pathlib import Path

from transformers import TrainerCallback


class EdgebenchCallback(TrainerCallback):
    """Stops the training when the board sees no gain any more, and logs what it measures as `board/…`.

    out: the folder of `edgebench watch` (--out). log: the trainer's own `log`, for its curve and its reporters.
    wait: most seconds to wait at a checkpoint for its verdict; 0: the training runs on, the verdict comes later.
    """

    def __init__(self, out, log=None, wait=0.0):
        self.status, self.log, self.wait, self.seen = Path(out) / "status.json", log, wait, None

    def look(self, control):
        try:
            status = json.loads(self.status.read_text())
        except FileNotFoundError:  # the first verdict is still to come
            return
        last = status["last"]
        if last and last["checkpoint"] != self.seen:
            self.seen = last["checkpoint"]
            if self.log and last["status"] == "ok":
                names = ("step", "value", "lo", "hi", "perplexity", "decode_tok_s", "ttft_ms_p50", "rss_peak_mib")
                self.log({f"board/{k.replace('value', last['metric'])}": last[k] for k in names if last[k] is not None})
        control.should_training_stop |= status["stop"]

    def on_save(self, args, state, control, **kwargs):
        end = time.monotonic() + self.wait
        self.look(control)
        while self.seen != f"checkpoint-{state.global_step}" and not control.should_training_stop and time.monotonic() < end:
            time.sleep(0.2)
            self.look(control)
