import math
import unittest

from side_by_side import stats


class Percentiles(unittest.TestCase):
    def test_they_are_values_that_were_seen(self) -> None:
        values = list(range(1, 101))
        self.assertEqual([stats.percentile(values, percent) for percent in (50, 99, 99.9, 100)], [50, 99, 100, 100])

    def test_one_value_is_all_of_them(self) -> None:
        self.assertEqual(stats.percentile([7], 0), 7)
        self.assertEqual(stats.percentile([7], 99.9), 7)

    def test_microseconds_become_milliseconds_in_any_order(self) -> None:
        told = stats.latencies_ms([3000, 1000, 2000], "delivered_")
        self.assertEqual((told["delivered_p50_ms"], told["delivered_max_ms"]), (2, 3))

    def test_no_latencies_are_no_figures(self) -> None:
        self.assertEqual(stats.latencies_ms([]), {})


class Agreement(unittest.TestCase):
    def test_rounds_within_a_fifth_agree(self) -> None:
        self.assertIsNone(stats.disagreement([95, 100, 114]))

    def test_rounds_further_apart_say_by_how_much(self) -> None:
        self.assertEqual(stats.disagreement([90, 100, 124]), "rounds differ by 34 %")

    def test_a_single_round_agrees_with_itself(self) -> None:
        self.assertIsNone(stats.disagreement([12.5]))

    def test_a_median_of_zero(self) -> None:
        self.assertEqual(stats.spread([0, 0]), 0)
        self.assertTrue(math.isinf(stats.spread([0, 0, 1])))
        self.assertIsNotNone(stats.disagreement([0, 0, 1]))


if __name__ == "__main__":
    unittest.main()
