import unittest

from side_by_side import command


class Pause(unittest.TestCase):
    def test_what_is_left_of_it(self) -> None:
        self.assertEqual(command.pause_left(1_000, 1_000), 90)
        self.assertEqual(command.pause_left(1_000, 1_060), 30)
        self.assertEqual(command.pause_left(1_000, 1_100), 0)

    def test_a_clock_that_was_set_back_holds_nobody_up(self) -> None:
        self.assertEqual(command.pause_left(9_000, 1_000), 0)


class Options(unittest.TestCase):
    def test_everything_is_measured_unless_told_otherwise(self) -> None:
        options = command.parser().parse_args([])
        self.assertEqual((options.only[0], options.rounds, options.quick), ("stored-1k", None, False))

    def test_cases_are_named_by_commas(self) -> None:
        self.assertEqual(command.parser().parse_args(["--only", "idle,huge"]).only, ["idle", "huge"])


if __name__ == "__main__":
    unittest.main()
