import json
import unittest

from side_by_side import catalog, report
from side_by_side.bench import FULL, QUICK
from side_by_side.results import Outcome, Outcomes, Sample, Term, Use, judge

FACTS = {
    "date": "2026-11-21T06:00:00+00:00",
    "commit": "abc",
    "quick": False,
    "rounds": 2,
    "machine": {"cores": 2, "processor": "P", "memory_gib": 8, "kernel": "6", "file_system": "ext4"},
    "versions": {"bilico": "0.1.0", "haproxy": "2.6"},
}


def outcomes() -> Outcomes:
    ours = [
        Sample({"files_per_s": rate, "delivered_p50_ms": 1.5, "delivered_p99_ms": 4.0}, 5_000)
        for rate in (30_000, 31_000)
    ]
    for sample in ours:
        sample.services = {"balancer": Use(0.5, 20.0)}
        sample.load = {"load generator": Use(0.1, 9.0)}
    return {"ours-1k": Outcome(ours), "haproxy-1k": Outcome(failure="wrk is missing: apt-get install wrk")}


class Numbers(unittest.TestCase):
    def test_three_digits_count(self) -> None:
        told = [report.number(value) for value in (26_600.4, 45.67, 1.234, 0.0123, 0, None)]
        self.assertEqual(told, ["26,600", "45.7", "1.23", "0.012", "0.00", "–"])


class Tables(unittest.TestCase):
    def setUp(self) -> None:
        self.rows = [row for row in catalog.ROWS if row.runs() == ["ours-1k", "haproxy-1k"]]
        self.runs = catalog.runs_of(self.rows)
        self.verdicts = [judge(row, outcomes(), False) for row in self.rows]

    def test_a_run_has_its_median_its_range_and_its_costs(self) -> None:
        line = report.run_table(self.runs, outcomes())[1]
        self.assertEqual(line[1:5], ["30,500 files/s", "30,000–31,000", "–", "1.50 / 4.00"])
        self.assertEqual(line[5:8], ["0.10", "0.020", "balancer 20, load generator 9"])

    def test_a_missing_peer_has_its_row(self) -> None:
        line = report.run_table(self.runs, outcomes())[2]
        self.assertEqual(line[-1], "wrk is missing: apt-get install wrk")

    def test_the_whole_is_told_in_both_forms(self) -> None:
        for markdown in (False, True):
            text = report.whole(FACTS, self.verdicts, self.runs, outcomes(), markdown)
            for wanted in (
                "30,500 files/s",
                "apt-get install wrk",
                "≥ 1.5 ×",
                "haproxy 2.6",
                "commit abc",
                "cargo bench",
            ):
                self.assertIn(wanted, text)

    def test_every_line_of_a_markdown_table_has_its_columns(self) -> None:
        lines = report.markdown_table(report.goal_table(self.verdicts)).splitlines()
        self.assertEqual({line.count("|") for line in lines}, {len(report.GOAL_HEAD) + 1})

    def test_the_json_has_every_figure_of_every_round(self) -> None:
        told = json.loads(json.dumps(report.as_json(FACTS, self.verdicts, outcomes())))
        run = told["runs"]["ours-1k"]
        self.assertEqual([each["figures"]["files_per_s"] for each in run["rounds"]], [30_000, 31_000])
        self.assertEqual(run["medians"]["files_per_s"], 30_500)
        self.assertEqual(run["rounds"][0]["services"]["balancer"], {"cpu_s": 0.5, "peak_mib": 20.0})
        self.assertEqual((told["commit"], told["machine"]["cores"]), ("abc", 2))
        self.assertIsNone(told["rows"][0]["met"])
        self.assertEqual(told["rows"][0]["goal"], {"kind": "ratio at least", "limit": 1.5})


class Catalog(unittest.TestCase):
    def test_every_row_is_measured_by_runs_that_exist(self) -> None:
        for row in catalog.ROWS:
            for run in row.runs():
                self.assertIn(run, catalog.RUNS, row.title)
            self.assertTrue(catalog.RUNS[row.ours.run].ours, row.title)

    def test_every_run_is_in_a_row_and_beside_one_of_ours(self) -> None:
        self.assertEqual(list(catalog.RUNS.values()), catalog.runs_of(catalog.ROWS))
        for run in catalog.RUNS.values():
            if run.beside:
                self.assertTrue(catalog.RUNS[run.beside].ours, run.name)

    def test_what_is_measured_with_tls_is_beside_plain_text(self) -> None:
        for case in (case for case in catalog.cases() if case.endswith("-tls")):
            rows = catalog.rows_of([case], False)
            # Nobody shakes hands in plain text.
            for ours in {row.ours for row in rows if row.ours.figure != "handshakes_per_s"}:
                plain = Term(ours.run.removesuffix("-tls"), ours.figure)
                self.assertIn(plain, [row.other for row in rows if row.ours == ours], case)

    def test_quick_leaves_out_what_is_too_large_for_it(self) -> None:
        self.assertEqual(catalog.rows_of(["huge"], True), [])
        self.assertEqual(len(catalog.rows_of(["huge"], False)), 1)

    def test_space_counts_every_round_and_the_warm_up(self) -> None:
        runs = catalog.runs_of(catalog.rows_of(["big-disk"], False))
        more = catalog.space_needed(runs, FULL, 5) - catalog.space_needed(runs, FULL, 4)
        self.assertAlmostEqual(more, 1.1 * 5 * (1 << 30), delta=2)
        self.assertLess(catalog.space_needed(catalog.RUNS.values(), QUICK, 1), 24 << 30)


if __name__ == "__main__":
    unittest.main()
