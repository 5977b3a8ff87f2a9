import unittest

from side_by_side.results import Goal, Kind, Outcome, Row, Sample, Term, Use, against, judge, ours_failed


def outcome(*values: float) -> Outcome:
    return Outcome([Sample({"rate": value}) for value in values])


def row(kind: Kind, limit: float, other: bool = True, full: bool = False) -> Row:
    return Row(
        "case",
        "what",
        "files/s",
        Term("ours", "rate"),
        Goal(kind, limit),
        Term("peer", "rate") if other else None,
        full,
    )


class Verdicts(unittest.TestCase):
    def test_a_ratio_of_medians_that_is_reached(self) -> None:
        told = judge(row(Kind.RATIO_AT_LEAST, 1.5), {"ours": outcome(1, 30, 32), "peer": outcome(20, 20, 90)}, False)
        self.assertEqual((told.met, told.text, told.ratio), (True, "meets", 1.5))

    def test_a_ratio_that_is_not_reached_says_what_is_short(self) -> None:
        told = judge(row(Kind.RATIO_AT_LEAST, 2), {"ours": outcome(15), "peer": outcome(10)}, False)
        self.assertEqual((told.met, told.text), (False, "short by 25 %"))

    def test_a_limit_that_is_passed_is_short_by_the_excess(self) -> None:
        self.assertEqual(against(Goal(Kind.AT_MOST, 150), 165), (False, "short by 10 %"))
        self.assertEqual(against(Goal(Kind.AT_MOST, 150), 150), (True, "meets"))
        self.assertEqual(against(Goal(Kind.AT_MOST, 1000), 1001), (False, "short by 0.1 %"))
        self.assertEqual(against(Goal(Kind.AT_MOST, 2), 42), (False, "short by 2,000 %"))

    def test_no_worse_than_the_other(self) -> None:
        self.assertTrue(against(Goal(Kind.RATIO_AT_MOST, 1), 1.0)[0])
        self.assertEqual(against(Goal(Kind.RATIO_AT_MOST, 1), 1.5), (False, "short by 50 %"))

    def test_what_has_no_goal_is_told(self) -> None:
        self.assertEqual(against(Goal(Kind.TOLD), 3), (None, "no goal"))

    def test_a_missing_peer_is_named_and_no_figure_invented(self) -> None:
        missing = Outcome(failure="haproxy is missing: install it")
        told = judge(row(Kind.RATIO_AT_LEAST, 1.5), {"ours": outcome(30), "peer": missing}, False)
        self.assertEqual((told.met, told.figure, told.other, told.ratio), (None, 30, None, None))
        self.assertIn("haproxy is missing: install it", told.text)

    def test_a_run_that_failed_in_a_later_round_has_no_figure(self) -> None:
        failed = Outcome([Sample({"rate": 9})], "failed: 3 files are stored instead of 4")
        told = judge(row(Kind.AT_MOST, 10, other=False), {"ours": failed}, False)
        self.assertEqual((told.met, told.figure), (None, None))
        self.assertTrue(ours_failed({"ours": failed}, ["ours"]))

    def test_rounds_that_differ_are_flagged_with_whose_they_are(self) -> None:
        told = judge(row(Kind.RATIO_AT_LEAST, 1), {"ours": outcome(10, 10, 10), "peer": outcome(5, 10, 10)}, False)
        self.assertEqual(told.remarks, ("other: rounds differ by 50 %",))

    def test_quick_does_not_judge_what_counts_at_full_size_only(self) -> None:
        small = row(Kind.AT_MOST, 150, other=False, full=True)
        self.assertIsNone(judge(small, {"ours": outcome(20)}, True).met)
        self.assertTrue(judge(small, {"ours": outcome(20)}, False).met)


class Samples(unittest.TestCase):
    def test_cpu_is_that_of_all_services_a_thousand_files(self) -> None:
        sample = Sample({}, 2_000, {"balancer": Use(1.0, 5), "server": Use(0.5, 5)})
        self.assertEqual(sample.cpu_per_1000(sample.services), 0.75)

    def test_a_few_files_have_no_cost_by_the_thousand(self) -> None:
        self.assertIsNone(Sample({}, 1, {"balancer": Use(1.0, 5)}).cpu_per_1000({"balancer": Use(1.0, 5)}))


if __name__ == "__main__":
    unittest.main()
