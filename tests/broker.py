"""A real MQTT broker (Debian's mosquitto) for one test, and a client that hears everything it is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from tests.ops.served import free_port
from tests.waiting import Deadline

PASSWORD = "hush#hush"
DAY = timedelta(days=1)


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert found, f"{name} is not installed: tests/setup_debian.sh installs it"
    return found


def _certify(path: Path) -> Path:
    """Write a certificate for 127.0.0.1 that is its own authority; where its key is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a broker for a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))
    beside = path.with_suffix(".key")
    beside.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return beside


@attrs.define
class Broker:
    """Lets in `zmnext` with `PASSWORD`, and `listener`; keeps nothing over a restart. With `tls`, it shows `certificate`."""

    directory: Path
    tls: bool = False
    port: int = attrs.field(factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://zmnext:{PASSWORD.replace('#', '%23')}@127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.directory / "certificate.pem"

    def start(self) -> None:
        self.directory.mkdir(exist_ok=True)
        config, passwords = self.directory / "mosquitto.conf", self.directory / "passwords"
        if not passwords.exists():
            passwords.touch(0o600)
            subprocess.run([_program("mosquitto_passwd"), "-b", passwords, "zmnext", PASSWORD], check=True)
            subprocess.run([_program("mosquitto_passwd"), "-b", passwords, "listener", "listener"], check=True)
        config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\npersistence false\n"
        )
        if self.tls:
            key = _certify(self.certificate)
            with config.open("a") as more:
                more.write(f"certfile {self.certificate}\nkeyfile {key}\n")
        self.process = subprocess.Popen([_program("mosquitto"), "-c", config], stderr=subprocess.DEVNULL)
        deadline = Deadline(20)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, "mosquitto has ended"
                assert not deadline.over, "mosquitto does not listen"
                time.sleep(0.01)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@attrs.frozen
class Heard:
    topic: str
    payload: bytes
    qos: int
    retain: bool

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Ear:
    """Subscribes to everything, on a thread of its own."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[Heard] = []
        self._client = client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set("listener", "listener")
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        client.on_message = self._on_message
        client.connect("127.0.0.1", broker.port)
        client.loop_start()

    def _on_message(self, _client: Any, _data: Any, message: MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, message.payload, message.qos, message.retain))

    def payloads(self, topic: str) -> list[bytes]:
        return [message.payload for message in self.heard if message.topic == topic]

    def of(self, topic: str) -> list[Any]:
        return [message.json for message in self.heard if message.topic == topic and message.payload]

    def close(self) -> None:
        self._client.disconnect()
