import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

from side_by_side import certificates, native, webdav
from side_by_side.bench import QUICK, Bench
from side_by_side.peers import Tools
from side_by_side.processes import Failed

# Stands for `bilico`: it writes down what it is told, and makes what it would make.
PRETENDED = """\
#!/bin/sh
echo "$*" >> "{notes}"
for last; do :; done
mkdir -p "$last"
[ "$2" = init ] && echo ca > "$last/ca.pem"
[ "$2" = issue ] && echo "cert of $4" > "$last/$3-$4.pem" && echo "key of $4" > "$last/$3-$4.key"
[ "$4" != refused ]
"""


class Temporary(unittest.TestCase):
    def setUp(self) -> None:
        held = tempfile.TemporaryDirectory()
        self.addCleanup(held.cleanup)
        self.directory = Path(held.name)


class Made(Temporary):
    def setUp(self) -> None:
        super().setUp()
        self.notes, bilico = self.directory / "notes", self.directory / "bilico"
        bilico.write_text(PRETENDED.format(notes=self.notes))
        bilico.chmod(0o700)
        self.bench = Bench(self.directory, Tools({"bilico": bilico}), QUICK, self.directory)

    def test_they_are_those_of_one_authority_in_the_run_s_directory(self) -> None:
        made = certificates.make(self.bench, ["s1", "s2"])
        self.assertEqual(made.directory.parent, self.directory)
        orders = ["init", "issue balancer b1", "issue server s1", "issue server s2"]
        wanted = [f"certs {order} --dir {made.directory}" for order in orders]
        self.assertEqual(self.notes.read_text().splitlines(), wanted)

    def test_one_that_cannot_be_made_is_a_failure(self) -> None:
        with self.assertRaises(Failed):
            certificates.make(self.bench, ["refused"])

    def test_options_name_files_that_are_there(self) -> None:
        made = certificates.make(self.bench, ["s1"])
        for options in (made.trust, made.balancer(), made.member("server", "s1")):
            named = [word for word in options if isinstance(word, Path)]
            self.assertTrue(named)
            self.assertTrue(all(path.is_file() for path in named), named)
        self.assertIn("required", made.balancer())

    def test_haproxy_gets_both_in_one_file_that_nobody_else_reads(self) -> None:
        both = certificates.make(self.bench).in_one_file("balancer", certificates.BALANCER)
        self.assertEqual(both.read_text(), "cert of b1\nkey of b1\n")
        self.assertEqual(both.stat().st_mode & 0o777, 0o600)


class HAProxy(unittest.TestCase):
    def test_it_takes_plain_text_unless_it_has_a_certificate(self) -> None:
        plain = webdav.haproxy_config(8000, [1, 2, 3])
        self.assertIn("  bind 127.0.0.1:8000\n", plain)
        secure = webdav.haproxy_config(8000, [1, 2, 3], Path("/both"))
        bind = "  bind 127.0.0.1:8000 ssl crt /both alpn http/1.1 ssl-min-ver TLSv1.3\n"
        self.assertEqual(secure, plain.replace("  bind 127.0.0.1:8000\n", bind))


@unittest.skipUnless(shutil.which("openssl"), "openssl is not installed")
class Native(Temporary):
    def setUp(self) -> None:
        super().setUp()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.own_certificate("balancer"))
        context.set_alpn_protocols(["bilico/1"])
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        self.address = f"127.0.0.1:{server.getsockname()[1]}"
        self.spoken: list[str | None] = []
        thread = threading.Thread(target=self.balancer, args=(server, context), daemon=True)
        thread.start()
        self.addCleanup(thread.join, 10)

    def own_certificate(self, name: str) -> tuple[Path, Path]:
        cert, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        order = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
        subprocess.run(["openssl", *order, *subject], check=True, capture_output=True)
        return cert, key

    def balancer(self, server: socket.socket, context: ssl.SSLContext) -> None:
        """Greets one client, and says how it is."""
        stream, _ = server.accept()
        hello = native.frame({"request_type": "hello", "role": "client"})
        try:
            with context.wrap_socket(stream, server_side=True) as secure:
                self.spoken.append(secure.selected_alpn_protocol())
                taken = 0
                while taken < 7 + len(hello):
                    taken += len(secure.recv(1024))
                greeting = native.frame({"request_type": "hello", "role": "balancer"})
                secure.sendall(b"\xb1ILICO\x00\x01" + greeting)
                secure.recv(1024)
                text = b'{"delivered":3}'
                head = b'{"request_type":"status_report"}'
                lengths = len(head).to_bytes(4, "big") + len(text).to_bytes(8, "big")
                secure.sendall(lengths + head + text + bytes(4))
        except OSError:
            stream.close()

    def test_a_balancer_is_asked_over_tls(self) -> None:
        self.assertEqual(native.status(self.address, self.directory / "balancer.pem"), {"delivered": 3})
        self.assertEqual(self.spoken, ["bilico/1"])

    def test_whoever_another_authority_has_signed_is_told_nothing(self) -> None:
        other, _ = self.own_certificate("other")
        with self.assertRaises(ssl.SSLCertVerificationError):
            native.status(self.address, other)
        self.assertEqual(self.spoken, [])


if __name__ == "__main__":
    unittest.main()
