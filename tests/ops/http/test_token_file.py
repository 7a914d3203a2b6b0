from __future__ import annotations

import stat

import pytest

from zmtwist.ops.http.token_file import BadToken, read_token, token


def test_it_is_made_once_for_its_owner_only(tmp_path):
    file = tmp_path / "state" / "api.token"
    made = token(str(file))
    assert len(made) >= 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert token(str(file)) == read_token(str(file)) == made
    assert [p.name for p in file.parent.iterdir()] == ["api.token"]


def test_one_that_others_may_read_is_not_used(tmp_path):
    file = tmp_path / "api.token"
    token(str(file))
    file.chmod(0o640)
    with pytest.raises(BadToken, match=r"mode 640\): chmod 600"):
        token(str(file))


@pytest.mark.parametrize("text", [b"", b"short", b"two words that are long", b"\xff" * 40])
def test_what_is_no_token(tmp_path, text):
    file = tmp_path / "api.token"
    file.write_bytes(text)
    file.chmod(0o600)
    with pytest.raises(BadToken) as caught:
        token(str(file))
    assert "remove it" in str(caught.value)
    assert "words" not in str(caught.value)


def test_where_it_can_not_be_made_or_is_not(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadToken):
        token(str(tmp_path / "file" / "api.token"))
    with pytest.raises(BadToken, match="no such file"):
        read_token(str(tmp_path / "api.token"))
