import signal
import socket
import tempfile
import unittest
from pathlib import Path

from side_by_side import native, processes


class Lives(unittest.TestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.directory = Path(held.name)

    def test_a_service_ends_with_all_below_it(self) -> None:
        service = processes.start("shell", ["sh", "-c", "sleep 600 & echo ready; wait"], self.directory)
        self.addCleanup(service.stop)
        service.output_line("ready", 10)
        family = processes.family(service.child.pid)
        self.assertEqual(len(family), 2)
        self.assertGreater(service.uses().peak_mib, 0)
        service.stop()
        processes.wait_for(lambda: not any(map(_runs, family)), 10, "they still run")

    def test_a_service_that_ended_is_a_failure_with_its_last_words(self) -> None:
        service = processes.start("shell", ["sh", "-c", "echo no such thing; exit 3"], self.directory)
        self.addCleanup(service.stop)
        service.child.wait(10)
        with self.assertRaisesRegex(processes.Failed, "ended with code 3: no such thing"):
            service.output_line("ready", 10)

    def test_a_load_has_its_output_and_its_cost(self) -> None:
        done = processes.run(
            "shell", ["sh", "-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo $i"], self.directory, 60
        )
        self.assertEqual(done.output, "200000\n")
        self.assertGreater(done.use.cpu_s, 0)

    def test_a_load_beside_others_is_told_to_end_and_has_its_cost(self) -> None:
        script = "trap 'exit 130' INT; echo ready; while :; do :; done"
        load = processes.start("shell", ["sh", "-c", script], self.directory)
        self.addCleanup(load.stop)
        load.output_line("ready", 10)
        load.tell(signal.SIGINT)
        self.assertGreaterEqual(load.finish(10, codes=(130,)).cpu_s, 0)

    def test_a_load_beside_others_that_fails_is_a_failure_with_its_last_words(self) -> None:
        load = processes.start("shell", ["sh", "-c", "echo no such file; exit 3"], self.directory)
        self.addCleanup(load.stop)
        with self.assertRaisesRegex(processes.Failed, "ended with code 3: no such file"):
            load.finish(10)

    def test_a_load_that_takes_too_long_is_ended(self) -> None:
        with self.assertRaises(processes.Failed):
            processes.run("sleep", ["sleep", "600"], self.directory, 0.2)

    def test_a_load_that_fails_says_why(self) -> None:
        with self.assertRaisesRegex(processes.Failed, "code 2 .*: broken"):
            processes.run("shell", ["sh", "-c", "echo broken >&2; exit 2"], self.directory, 10)


class Connections(unittest.TestCase):
    def test_those_that_are_open_are_counted_at_the_end_that_has_the_port(self) -> None:
        table = (
            "  sl  local_address rem_address   st tx_queue rx_queue\n"
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n"
            "   1: 0100007F:1F90 0100007F:C001 01 00000000:00000000\n"
            "   2: 0100007F:C001 0100007F:1F90 01 00000000:00000000\n"
            "   3: 0100007F:1F90 0100007F:C002 08 00000000:00000000\n"
        )
        self.assertEqual(processes.established(8080, table), 1)

    def test_the_system_tells_of_ours(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            self.assertEqual(processes.established(port), 0)
            with socket.create_connection(("127.0.0.1", port)), server.accept()[0]:
                self.assertEqual(processes.established(port), 1)


class Frames(unittest.TestCase):
    def test_the_hello_of_the_documented_example(self) -> None:
        written = native.frame({"request_type": "hello", "role": "client"})
        self.assertEqual(written, bytes([0, 0, 0, 0x28]) + bytes(8) + b'{"request_type":"hello","role":"client"}')


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


if __name__ == "__main__":
    unittest.main()
