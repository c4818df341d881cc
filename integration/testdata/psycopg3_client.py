"""Uses psycopg 3 as an application would; any deviation raises."""
import sys

import psycopg
import psycopg._connection_base

with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    conn.execute("DROP TABLE IF EXISTS py")
    conn.execute("CREATE TABLE py (a int PRIMARY KEY, b text)")
    for i in range(20):  # prepared after the fifth time
        assert conn.execute("SELECT %s::int + 1", (i,)).fetchone() == (i + 1,)
    with conn.pipeline():
        results = [conn.execute("SELECT %s::int", (i,)) for i in range(500)]
        assert [r.fetchone()[0] for r in results] == list(range(500))
    with conn.cursor().copy("COPY py FROM STDIN") as copy:
        for i in range(1000):
            copy.write_row((i, "x" * i))
    with conn.cursor().copy("COPY py TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 1000
    try:
        with conn.cursor().copy("COPY py FROM STDIN") as copy:
            copy.write_row((1, "twice"))
        raise AssertionError("no error")
    except psycopg.errors.UniqueViolation:
        pass
    try:
        with conn.pipeline():
            conn.execute("INSERT INTO py VALUES (5000, '')")
            conn.execute("SELECT 1 / 0")
            conn.execute("INSERT INTO py VALUES (5001, '')")
        raise AssertionError("no error")
    except psycopg.errors.DivisionByZero:
        pass
    with conn.transaction():
        conn.execute("INSERT INTO py VALUES (6000, '')")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO py VALUES (1, '')")
        except psycopg.errors.UniqueViolation:
            pass
    assert conn.execute("SELECT count(*) FROM py WHERE a >= 6000").fetchone() == (1,)
    with conn.transaction(), conn.cursor("named") as cur:
        cur.execute("SELECT generate_series(1, 1000)")
        assert len(cur.fetchall()) == 1000
    conn.execute("SET TIME ZONE 'Asia/Tokyo'")
    assert conn.execute("SHOW TimeZone").fetchone() == ("Asia/Tokyo",)
    assert conn.info.timezone.key == "Asia/Tokyo"

psycopg._connection_base._HAS_SEND_CLOSE = False  # as with a libpq before 17, which has DEALLOCATE for this
with psycopg.connect(sys.argv[1], prepare_threshold=0) as conn:
    conn.prepared_max = 3
    for _ in range(3):
        with conn.transaction():
            for i in range(12):
                assert conn.execute(f"SELECT {i}").fetchone() == (i,)
        with conn.pipeline():
            results = [conn.execute(f"SELECT {i}, %s::int", (i,)) for i in range(12)]
            assert [r.fetchone() for r in results] == [(i, i) for i in range(12)]
        conn.commit()
