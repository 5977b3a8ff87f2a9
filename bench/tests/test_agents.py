import unittest

from side_by_side.agents import all_there
from side_by_side.processes import Failed

TOLD = """# TYPE bilico_fleet_members gauge
bilico_fleet_members{state="active",trust="proved"} 500
bilico_fleet_members{state="late",trust="proved"} 3
bilico_door_messages_total{door="udp"} 1500
"""


class There(unittest.TestCase):
    def test_all_are_there_or_are_waited_for(self) -> None:
        self.assertEqual(all_there(TOLD, 500), 500)
        self.assertIsNone(all_there(TOLD, 503))

    def test_words_that_were_refused_make_no_figure(self) -> None:
        refused = 'bilico_door_refused_total{door="udp",reason="dropped by the kernel"} '
        self.assertEqual(all_there(TOLD + refused + "0\n", 500), 500)
        with self.assertRaisesRegex(Failed, "dropped by the kernel"):
            all_there(TOLD + refused + "2\n", 500)


if __name__ == "__main__":
    unittest.main()
