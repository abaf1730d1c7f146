"""Starts and ends the binary for the checks."""

import pathlib
import signal
import subprocess
import tempfile


class Process:
    """A process of the binary, its standard output read up to a line that begins with `ready`."""

    def __init__(self, *arguments, ready):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.lines = []
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(ready):
                return
        self.log.seek(0)
        raise AssertionError(f"it did not start: {self.log.read().decode()}")

    def word(self, beginning):
        """The rest of the line that begins so."""
        return next(line[len(beginning) :].strip() for line in self.lines if line.startswith(beginning))

    def end(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        code = self.process.wait()
        self.process.stdout.close()
        self.log.close()
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


def serve_sandbox(binary, *settings):
    """A service with a simulator of the providers and a journal that is thrown away."""
    sets = [word for setting in settings for word in ("--set", setting)]
    return Process(
        binary, "serve", "--sandbox", "--set", "server.listen=127.0.0.1:0", *sets, ready="listening on"
    )


def sandbox(binary):
    """The simulator on its own."""
    return Process(binary, "sandbox", "--port", "0", ready="sequenzy")


def serve(binary, place, listen, rebilly):
    """A service with a journal in `place`, a caller with a token, and one account."""
    place = pathlib.Path(place)
    (place / "token").write_text("a-token-of-the-checks-0123456789abcdef\n")
    (place / "credential").write_text("anything\n")
    (place / "cancelot.toml").write_text(
        f"""
        [server]
        listen = "{listen}"
        [journal]
        dir = "{place / "journal"}"
        free_bytes_min = 1048576
        [callers.billing]
        token_file = "{place / "token"}"
        [accounts.rebilly]
        provider = "rebilly"
        base_url = "{rebilly}"
        credential_file = "{place / "credential"}"
        rate_per_second = 200.0
        settling_ms = 1000
        """
    )
    return Process(binary, "serve", "--config", str(place / "cancelot.toml"), ready="listening on")
