"""A Kafka that lets in who knows a password (SASL/PLAIN), in the clear and over TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.support.brokersettings import Identity, listener_settings
from tests.support.installation import Installation
from tests.support.kafka import Kafka
from tests.support.ports import reserve_port

MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


class SecureKafka:
    """One node with two more listeners, SASL_PLAINTEXT and SASL_SSL. One thread at a time may call it."""

    username = "taskq"
    password = "correct horse"  # with a space: it must survive URLs and settings

    def __init__(
        self, home: Installation, *, users: Sequence[str] = (), more: Mapping[str, str] = {}
    ) -> None:
        """Prepare it; blocks for a second or two while Java makes a certificate.

        Args:
            home: The jars.
            users: More names that the password lets in. With any, rights are checked: they may do what ACLs allow, and only the
                plain listener `kafka.bootstrap` may do everything.
            more: More settings of the broker.
        """
        identity = Identity()
        self._ports = {"SASL": reserve_port(), "TLS": reserve_port()}
        self.kafka = Kafka(home=home, identity=identity)
        store = self.kafka.folder / "broker.p12"
        self.certificate = self.kafka.folder / "broker.pem"
        """The broker's own certificate, which clients must trust (`ssl.ca.location`)."""

        _make_certificate(home, store, self.certificate)
        listeners = {
            "SASL": ("SASL_PLAINTEXT", self._ports["SASL"]),
            "TLS": ("SASL_SSL", self._ports["TLS"]),
        }
        logins = " ".join(f'user_{name}="{self.password}"' for name in (self.username, *users))
        login = f"{MODULE} required {logins};"
        settings = {
            **(ACLS if users else {}),
            **listener_settings(identity, listeners),
            "listener.name.tls.ssl.keystore.location": str(store),
            "listener.name.tls.ssl.keystore.password": STORE_PASSWORD,
            "listener.name.tls.ssl.keystore.type": "PKCS12",
        }
        for name in ("sasl", "tls"):
            settings[f"listener.name.{name}.sasl.enabled.mechanisms"] = "PLAIN"
            settings[f"listener.name.{name}.plain.sasl.jaas.config"] = login
        self.kafka.configure({**settings, **more})

    @property
    def sasl_address(self) -> str:
        """HOST:PORT that asks for the password, without TLS."""
        return f"127.0.0.1:{self._ports['SASL'].number}"

    @property
    def tls_address(self) -> str:
        """HOST:PORT that asks for the password, with TLS; the certificate names 127.0.0.1 and localhost."""
        return f"127.0.0.1:{self._ports['TLS'].number}"

    def __enter__(self) -> SecureKafka:
        """Start it."""
        self.kafka.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it."""
        self.kafka.close()
        for port in self._ports.values():
            port.release()


ACLS = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    # the listeners without login: the broker's own and the tests'
    "super.users": "User:ANONYMOUS",
}

STORE_PASSWORD = "of the key store"
"""Protects nothing: the store is as temporary as the broker."""


def _make_certificate(home: Installation, store: Path, certificate: Path) -> None:
    """Make a key with a certificate of its own, for a week, and export the certificate as PEM."""
    keytool = str(Path(home.java).resolve().with_name("keytool"))
    common = ["-alias", "broker", "-keystore", str(store), "-storepass", STORE_PASSWORD]
    kind = ["-storetype", "PKCS12", "-keyalg", "EC", "-validity", "7", "-dname", "CN=localhost"]
    names = ["-ext", "SAN=ip:127.0.0.1,dns:localhost"]
    commands = (
        ["-genkeypair", *common, *kind, *names],
        ["-exportcert", "-rfc", "-file", str(certificate), *common],
    )
    for command in commands:
        subprocess.run([keytool, *command], check=True, capture_output=True)
