import tempfile
import unittest
from pathlib import Path

from side_by_side.bench import sizes
from side_by_side.mixed import combined
from side_by_side.results import Use


class Mixed(unittest.TestCase):
    def test_loads_at_the_same_time_use_their_cpu_together(self) -> None:
        self.assertEqual(combined([Use(1.5, 8.0), Use(0.5, 9.0)]), Use(2.0, 9.0))

    def test_stored_files_are_counted_by_size_without_hidden_ones(self) -> None:
        with tempfile.TemporaryDirectory() as held:
            first, second = Path(held, "1"), Path(held, "2")
            for directory in (first, second):
                directory.mkdir()
            (first / "1_a").write_bytes(b"12")
            (second / "2_b").write_bytes(b"34")
            (second / "3_c").write_bytes(b"5")
            (second / ".bilico-index").write_bytes(b"6")
            self.assertEqual(sizes([first, second]), {2: 2, 1: 1})


if __name__ == "__main__":
    unittest.main()
