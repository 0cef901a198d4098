from __future__ import annotations

import pytest
from kombu import compression as kombu_compression

from taskq.sending.compression import MAX_BYTES, SUPPORTED, decompress


@pytest.mark.parametrize("name", sorted(SUPPORTED))
def test_what_kombu_compressed_is_read(name: str) -> None:
    data, content_type = kombu_compression.compress(b"body" * 100, name)

    assert decompress(data, content_type) == b"body" * 100


@pytest.mark.parametrize("name", [*sorted(SUPPORTED), "application/x-other"])
@pytest.mark.parametrize("data", [b"", b"not compressed"])
def test_other_data_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(ValueError, match="compress"):
        decompress(data, name)


def test_a_small_body_that_grows_without_end_is_refused() -> None:
    data, content_type = kombu_compression.compress(bytes(MAX_BYTES + 1), "gzip")

    with pytest.raises(ValueError, match="larger"):
        decompress(data, content_type)
