"""Post-processors and evaluators in the keys of a task."""

import re
import unittest

from support import ROOT, evaluator  # noqa: F401  (puts the package on the path)

from edgebench_oc import scoring


class Scoring(unittest.TestCase):
    def steps(self, post, **arguments):
        return scoring.of_generation(evaluator("AccEvaluator", post, **arguments)).keys.get("extract")

    def test_post_processors_become_steps(self):
        self.assertEqual(self.steps("first_capital_postprocess"), ["first_capital"])
        self.assertEqual(self.steps("first_option_postprocess", options="ABCD"), ["first_option:ABCD"])
        self.assertEqual(self.steps("last_option_postprocess", options="ABCDE"), ["last_option:ABCDE"])
        self.assertEqual(self.steps("gsm8k_postprocess"), ["before:Question:", "last_number"])
        self.assertEqual(self.steps(None), ["trim"])

    def test_a_function_counts_as_its_name_does(self):
        def first_capital_postprocess(text):
            return text

        cfg = {"evaluator": {"type": "AccEvaluator"}, "pred_postprocessor": {"type": first_capital_postprocess}}
        self.assertEqual(scoring.of_generation(cfg).keys["extract"], ["first_capital"])

    def test_what_is_python_is_said(self):
        for post, arguments in [
            ("general_postprocess", {}),
            ("first_option_postprocess", {"options": "ABD"}),
            ("first_option_postprocess", {"options": "ABCD", "cushion": False}),
            ("match_answer_pattern", {"answer_pattern": r"(?<=x)([A-D])"}),
        ]:
            found = scoring.of_generation(evaluator("AccEvaluator", post, **arguments))
            self.assertEqual((found.keys, found.why), ({}, f"{post} is Python"))
        self.assertEqual(scoring.of_generation(evaluator("MATHEvaluator")).why, "MATHEvaluator is Python")
        self.assertEqual(scoring.of_labels(evaluator("AccEvaluator")), "")
        self.assertEqual(scoring.of_labels(evaluator("MccEvaluator")), "MccEvaluator is Python")

    def test_expressions_keep_their_meaning_for_chinese(self):
        # regex-lite's classes are ASCII's: the translation must not depend on them. Its own syntax for a character by
        # number is \u{…}; Python's is \u….
        [step] = self.steps("match_answer_pattern", answer_pattern=r"(?i)答案\s*:\s*[\W]*([A-D])[\W]*")
        pattern = step.removeprefix("regex:")
        self.assertIsNone(re.search(r"\\[sWSw]", pattern))
        python = re.sub(r"\\u\{([0-9a-f]+)\}", lambda m: f"\\u{int(m[1], 16):04x}", pattern)
        original = r"(?i)答案\s*:\s*[\W]*([A-D])[\W]*"
        for text in ["答案: B", "答案:\u3000**C**", "答案: 【D】", "答案: 是A", "答案：B", "答案: (b)", "答案:\n\nA。", "答案: _A"]:
            found = [re.search(p, text) for p in (original, python)]
            self.assertEqual(*(m and m.group(1) for m in found), text)


if __name__ == "__main__":
    unittest.main()
