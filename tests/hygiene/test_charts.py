# SPDX-License-Identifier: Apache-2.0
"""Charts of scripts/benches are well-formed XML, say what they are given, and stay inside their picture.

usage: test_charts.py FOLDER_OF_BENCHES
"""
import pathlib
import re
import sys
import unittest
import xml.etree.ElementTree as ET

sys.path.insert(0, str(pathlib.Path(sys.argv.pop(1)) / "lib"))
import chart  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = 'a <b> & "c" \'d\' ]]> é 漢'


def drawn(*panels, title="what", where="on what"):
    """The picture, parsed."""
    return ET.fromstring(chart.document(title, where, list(panels)))


def texts(picture):
    return ["".join(t.itertext()) for t in picture.iter(SVG + "text")]


class Charts(unittest.TestCase):
    def inside(self, picture):
        """No number is infinite or none, and nothing lies outside."""
        wide, tall = float(picture.get("width")), float(picture.get("height"))
        for part in picture.iter():
            for key, value in part.attrib.items():
                self.assertNotRegex(value, r"\b(nan|inf|None)\b", f"{part.tag} {key}")
            for key, most in (("x", wide), ("x1", wide), ("x2", wide), ("cx", wide), ("y", tall), ("y1", tall), ("y2", tall), ("cy", tall)):
                if part.get(key):
                    self.assertTrue(-1 <= float(part.get(key)) <= most + 1, f"{part.tag} {key}={part.get(key)}")
            if part.tag == SVG + "rect" and part.get("x"):
                self.assertGreaterEqual(float(part.get("width")), 0)
                self.assertLessEqual(float(part.get("x")) + float(part.get("width")), wide + 1)

    def test_text_is_escaped_wherever_it_stands(self):
        picture = drawn(chart.Bars(HOSTILE, HOSTILE, [HOSTILE, "other"], [(HOSTILE, [1, 2])], mark=(1.5, HOSTILE)),
                        chart.Lines(HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, [(1, 2), (2, 3)]), ("other", [])], mark=(2, HOSTILE)),
                        title=HOSTILE, where=HOSTILE)
        # title, where, and of each panel: title, a name, a label or a mark, units
        self.assertGreaterEqual(sum(HOSTILE in text for text in texts(picture)), 11)
        self.inside(picture)

    def test_none_one_and_many_rows_can_be_drawn(self):
        for n in (0, 1, 2, 500):
            for log in (False, True):
                rows = [(f"row {i}", [i, i * i + 0.5]) for i in range(n)]
                points = [(i + 1, (i % 7 + 1) * 10.0 ** (i % 5)) for i in range(n)]
                picture = drawn(chart.Bars("bars", "units", ["a", "b"], rows, log=log),
                                chart.Lines("lines", "x", "y", [("a", points), ("b", [])], log_x=log, log_y=log))
                self.inside(picture)
                said = texts(picture)
                self.assertEqual(sum(bool(re.fullmatch(r"row \d+", t)) for t in said), n)
                self.assertEqual(n == 0, "nothing was measured" in said)

    def test_values_that_cannot_be_drawn_are_said_or_left_out(self):
        nothing = [None, float("nan"), float("inf")]
        for log in (False, True):
            picture = drawn(chart.Bars("bars", "u", ["a"], [("x", [v]) for v in nothing + [0, 5]], log=log),
                            chart.Lines("lines", "x", "y", [("a", [(1, v) for v in nothing] + [(2, 5), (None, 1)])], log_y=log))
            self.inside(picture)
            self.assertEqual(texts(picture).count("not measured"), len(nothing))
            self.assertEqual(len(list(picture.iter(SVG + "circle"))), 1)

    def test_below_zero_and_all_the_same_have_a_scale(self):
        for values in ([-3, 4], [-3, -2], [0, 0], [7, 7], [1e-9, 1e12]):
            picture = drawn(chart.Bars("bars", "u", ["a"], [(str(v), [v]) for v in values]),
                            chart.Lines("lines", "x", "y", [("a", list(enumerate(values)))]),
                            chart.Lines("lines", "x", "y", [("a", [(v, 1) for v in values])]))
            self.inside(picture)

    def test_a_bar_is_as_long_as_its_value(self):
        picture = drawn(chart.Bars("bars", "u", ["a"], [("one", [10]), ("two", [20])]))
        one, two = [float(r.get("width")) for r in picture.iter(SVG + "rect") if r.get("class") == "f0"]
        self.assertAlmostEqual(two, 2 * one, delta=0.2)

    def test_labels_of_an_axis_do_not_overlap(self):
        for values in ([1, 1e9], [1, 3], [0.001, 5], [1, 1e30]):
            for log in (False, True):
                scale = chart.Scale(values, 0, 600, log)
                ends = [(scale(t) - chart.width_of(chart.number(t), 11) / 2, scale(t) + chart.width_of(chart.number(t), 11) / 2)
                        for t in scale.ticks]
                self.assertTrue(all(a[1] <= b[0] for a, b in zip(ends, ends[1:])), f"{values} {log}: {scale.ticks}")
                self.assertGreaterEqual(len(scale.ticks), 2)

    def test_nothing_from_outside_is_asked_for(self):
        text = chart.document("t", "w", [chart.Bars("b", "u", ["a"], [("x", [1])])])
        self.assertNotRegex(text.replace('xmlns="http://www.w3.org/2000/svg"', ""), r"https?:|<script|@import|url\(")


if __name__ == "__main__":
    unittest.main()
