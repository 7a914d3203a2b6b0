"""Real clips for tests: a finished one, and ones that were cut off, as a killed worker leaves them."""

from __future__ import annotations

from pathlib import Path

import av

RATE = 10


def record(path: Path, frames: int = 30, *, cut: int = 0, sidecar: str | None = None) -> Path:
    """A Matroska clip of `frames` pictures at 10 a second; with `cut` its last bytes are missing, and what is written at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(
        str(path), "w", format="matroska", options={"cluster_time_limit": "200", "flush_packets": "1"}
    ) as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
        for number in range(frames):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            for plane in picture.planes:
                plane.update(bytes([number * 7 % 256]) * plane.buffer_size)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        if cut:
            whole = path.read_bytes()
            unfinished = whole[: len(whole) - cut]
    if cut:
        path.write_bytes(unfinished)
    if sidecar is not None:
        path.with_name(path.name + ".json").write_text(sidecar)
    return path
