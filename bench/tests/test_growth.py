import unittest

from side_by_side.growth import Look, cost_us
from side_by_side.processes import Failed

BEFORE = Look(at=100.0, cpu_s=7.0, accepted=2_000, delivered=1_990)


class Cost(unittest.TestCase):
    def test_a_file_costs_what_is_used_beyond_the_idle_balancer(self) -> None:
        after = Look(at=110.0, cpu_s=9.5, accepted=12_000, delivered=11_995)
        self.assertAlmostEqual(cost_us(BEFORE, after, idle=0.05), 200.0)

    def test_files_that_do_not_go_out_as_they_come_in_have_no_cost(self) -> None:
        after = Look(at=110.0, cpu_s=9.5, accepted=12_000, delivered=9_000)
        with self.assertRaisesRegex(Failed, "10000 files were accepted while 7010 were delivered"):
            cost_us(BEFORE, after, idle=0)

    def test_no_files_have_no_cost(self) -> None:
        with self.assertRaisesRegex(Failed, "no file was accepted"):
            cost_us(BEFORE, BEFORE, idle=0)


if __name__ == "__main__":
    unittest.main()
