"""A process that makes bare commits, one row of Events each, on a connection of its own: what a commit costs while others load the server.

`python -m tests.bench.commits SOCKET DATABASE PAUSE`: one every PAUSE seconds until stdin is closed, then {"committed": [seconds, ...]}
on stdout, how long each took. With 0 they follow hard on each other, which is not what openings do: a commit that comes after a pause
finds processor and caches cold, and takes two to three times as long.
"""

from __future__ import annotations

import json
import select
import sys
import time

import pymysql

ROW = "INSERT INTO Events (MonitorId, StateId, StorageId, Name, Cause, StartDateTime) VALUES (1, 0, 3, 'a', 'b', NOW())"


def bare_commit(connection: pymysql.connections.Connection[pymysql.cursors.Cursor]) -> float:
    """Seconds that it took."""
    with connection.cursor() as cursor:
        began = time.perf_counter()
        connection.begin()
        cursor.execute(ROW)
        connection.commit()
        return time.perf_counter() - began


def main() -> None:
    path, database, pause = sys.argv[1], sys.argv[2], float(sys.argv[3])
    took = []
    with pymysql.connect(unix_socket=path, user="root", database=database, ssl_disabled=True) as connection:
        while not select.select([sys.stdin], [], [], pause)[0]:
            took.append(bare_commit(connection))
    print(json.dumps({"committed": took}), flush=True)


if __name__ == "__main__":
    main()
