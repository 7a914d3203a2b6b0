from __future__ import annotations

from zmtwist.config.reload import taken
from zmtwist.config.settings import Settings, settle
from zmtwist.config.toml import parse

DATABASE = '[database]\nurl = "mysql://u:hushhush@h/zm"\n'


def settings(text: str, **zm_conf: str) -> Settings:
    return settle(parse(text), zm_conf)


def test_what_decides_about_workers_and_documents_is_taken() -> None:
    old = settings(
        DATABASE + '[zmnext]\nenabled = true\nmonitors = [1]\n[[zmnext.monitor]]\nid = 1\nstore_mode = "event"'
    )
    new = settings(DATABASE + '[zmnext]\nenabled = true\nmonitors = "all"\n[zmnext.pipeline]\ndetect = false')
    assert taken(old, new) == (new, ())


def test_what_is_built_in_at_the_start_waits_and_is_named_without_values() -> None:
    old = settings(DATABASE)
    text = """
        [zmnext]
        enabled = true
        monitors = [4]
        [zmnext.worker]
        max_rss_mb = 5
        [zmnext.pipeline]
        delivery = "file"
        dir = "/d"
        detect = false
        [database]
        url = "mysql://u:other-hush@h/zm"
        [paths]
        run = "/elsewhere"
    """
    now, waiting = taken(old, settings(text))
    assert waiting == (
        "zmnext.enabled",
        "zmnext.worker.max_rss_mb",
        "zmnext.pipeline.delivery",
        "zmnext.pipeline.dir",
        "database.url",
        "paths.run",
    )
    assert now.config.zmnext.monitors == (4,)
    assert now.config.zmnext.pipeline.detect is False
    assert now.config.zmnext.pipeline.delivery == "stdin"
    assert (now.run, now.database, now.api_endpoint) == (old.run, old.database, old.api_endpoint)


def test_what_changed_in_zm_conf_waits_too() -> None:
    old, new = settings(DATABASE, ZM_SERVER_ID="1"), settings(DATABASE, ZM_SERVER_ID="2")
    assert taken(old, new) == (old, ("zm.conf",))
