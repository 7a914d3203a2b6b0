"""What a media child may take of the host, and what it reads clips as."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from struct import pack, unpack

import av
import pytest

from tests.media.clips import record
from zmtwist.media.child_program import NoFile, framed, open_regular, opened

PROGRAM = """
import os, resource, sys, time
from zmtwist.media.child_program import serve

def answer(message):
    try:
        return repr(eval(message)).encode()
    except Exception as error:
        return type(error).__name__.encode()

def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

serve(answer, niceness=3, memory_mib=200, seconds=int(sys.argv[1]))
"""


@pytest.fixture
def asking():
    children = []

    def start(seconds: int):
        argv = [sys.executable, "-c", PROGRAM, str(seconds)]
        child = subprocess.Popen(argv, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        children.append(child)

        def ask(message: bytes) -> bytes | int:
            """The answer; or the signal that has ended the child."""
            child.stdin.write(framed(message))
            head = child.stdout.read(4)
            return child.stdout.read(*unpack("<I", head)) if head else -child.wait(20)

        return ask

    yield start
    for child in children:
        child.kill()
        child.communicate()


def test_memory_files_and_priority_are_bounded(asking, tmp_path):
    ask = asking(60)
    assert ask(b"len(bytes(50 << 20))") == b"52428800"
    assert ask(b"len(bytes(1 << 30))") == b"MemoryError"
    assert ask(b"os.nice(0)") == b"%d" % (os.nice(0) + 3)
    assert ask(b"open(%r, 'wb', 0).write(b'x')" % str(tmp_path / "a").encode()) == b"OSError"
    assert ask(b"resource.getrlimit(resource.RLIMIT_CORE)") == b"(0, 0)"
    assert ask(b"[os.open('/', 0) for _ in range(100)]") == b"OSError"


@pytest.mark.parametrize(
    ("job", "signals"),
    [(b"time.sleep(60)", {signal.SIGALRM}), (b"__import__('signal').alarm(0), spin(60)", {signal.SIGXCPU})],
)
def test_each_job_has_its_time_and_the_last_one_ends_it(asking, job, signals):
    ask = asking(60)
    allowed = int(ask(b"resource.getrlimit(resource.RLIMIT_CPU)[0]"))
    assert ask(b"spin(1.1)") == b"None"
    assert int(ask(b"resource.getrlimit(resource.RLIMIT_CPU)[0]")) > allowed
    assert asking(1)(job) in signals


def test_only_files_are_opened(tmp_path):
    record(tmp_path / "a.mkv")
    with open_regular(str(tmp_path / "a.mkv")) as file:
        assert file.read(4) == b"\x1a\x45\xdf\xa3"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "a.mkv")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "fifo", tmp_path, "/dev/null"):
        with pytest.raises(NoFile):
            open_regular(str(path))
    for path in (tmp_path / "link", tmp_path / "socket", tmp_path / "none"):
        with pytest.raises(OSError):
            open_regular(str(path))


@pytest.mark.parametrize("kind", ["matroska", "mov"])
@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
)
def test_nothing_that_names_other_files_or_hosts_is_read(tmp_path, content, kind):
    clip = record(tmp_path / "a.mkv")
    (tmp_path / "list.mkv").write_text(content.format(clip))
    with open_regular(str(tmp_path / "list.mkv")) as file, pytest.raises(av.FFmpegError):
        opened(file, kind)


def test_a_message_is_framed_by_its_length():
    assert framed(b"abc") == pack("<I", 3) + b"abc"
