from __future__ import annotations

import pytest

from zmtwist.zm.db.grants import missing, statements

WANTED = {"Events": frozenset({"SELECT", "INSERT", "UPDATE"}), "Config": frozenset({"SELECT"})}
ALL = {"Events": ("INSERT", "SELECT", "UPDATE"), "Config": ("SELECT",)}


@pytest.mark.parametrize(
    ("lines", "lack"),
    [
        ([], ALL),
        (["GRANT USAGE ON *.* TO `u`@`h` IDENTIFIED BY PASSWORD '*AB'"], ALL),
        (["GRANT ALL PRIVILEGES ON *.* TO `u`@`h`"], {}),
        (["GRANT USAGE ON *.* TO `u`@`h`", "GRANT ALL PRIVILEGES ON `zm`.* TO `u`@`h`"], {}),
        (["GRANT SELECT, INSERT, UPDATE, DELETE ON `zm`.* TO `u`@`h` WITH GRANT OPTION"], {}),
        (["GRANT ALL PRIVILEGES ON `other`.* TO `u`@`h`"], ALL),
        (["GRANT ALL PRIVILEGES ON `z%`.* TO `u`@`h`"], {}),
        (["GRANT ALL PRIVILEGES ON `z\\_`.* TO `u`@`h`"], ALL),
        (["GRANT ALL PRIVILEGES ON `z_`.* TO `u`@`h`"], {}),
        (["GRANT SELECT ON `zm`.* TO `u`@`h`", "GRANT INSERT ON `zm`.`Events` TO `u`@`h`"], {"Events": ("UPDATE",)}),
        (["GRANT SELECT, INSERT (`Id`, `Name`), UPDATE ON `zm`.`events` TO `u`@`h`"], {"Config": ("SELECT",)}),
        (["GRANT `role` TO `u`@`h`", "nonsense"], ALL),
    ],
)
def test_what_is_missing(lines, lack):
    assert missing(lines, "zm", WANTED) == lack


def test_what_to_run():
    assert statements({"Events": ("INSERT", "UPDATE")}, "zm") == "GRANT INSERT, UPDATE ON `zm`.`Events` TO …"
