"""What tests share: the program, the mock backend, a folder; nothing of OpenCompass."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "integrations" / "opencompass"))
_BUILT = [ROOT / "target" / profile / "edgebench" for profile in ("release", "debug")]
EDGEBENCH = os.environ.get("EDGEBENCH") or next((str(path) for path in _BUILT if path.exists()), None)

needs_edgebench = unittest.skipUnless(
    EDGEBENCH and shutil.which("cc"), "needs edgebench (cargo build, or EDGEBENCH) and a C compiler"
)


class InFolder(unittest.TestCase):
    """A test in a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def mock(self):
        """The mock backend, compiled."""
        path = self.folder / "libmock.so"
        flags = ["-std=c99", "-O1", "-shared", "-fPIC", "-I", str(ROOT / "backends")]
        source = str(ROOT / "backends" / "mock" / "mock.c")
        subprocess.run(["cc", *flags, source, "-o", str(path), "-lm", "-lpthread"], check=True)
        return str(path)

    def json(self, *path):
        """A file of JSON."""
        return json.loads(self.folder.joinpath(*path).read_text(encoding="utf-8"))


def evaluator(name, post=None, **arguments):
    """An `eval_cfg` with types by name, as a config that was dumped has them."""
    cfg = {"evaluator": {"type": f"opencompass.somewhere.{name}"}}
    if post:
        cfg["pred_postprocessor"] = {"type": f"opencompass.utils.text_postprocessors.{post}", **arguments}
    return cfg
