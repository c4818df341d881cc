-- A part of an INSERT that has none of the parameters declared them all, so that the server asked for their types (42P18).
-- The part's list of parameters was nil, which meant "as they are". It is empty now.
--: extended answered ordered
--$ 1 declared=0 binary=0 'a'
INSERT INTO by_text (k) VALUES ($1), ('東京'), ('x'), ('yy'), ('ß')

-- case
-- With an alias the keys in VALUES are not lifted out of the text; every row went to the shard of the first one of its form.
-- Such an INSERT is planned whole now, and refused if its rows are on several shards.
--: ordered loose
INSERT INTO notes AS a1 VALUES (21, 'x', 1), (0, 'b', 3), (5, 'x', 1), (7, 'x', 1), (9, 'x', 1)

--: ordered loose
INSERT INTO orders AS a1 VALUES ('-8', 99, NULL), (21, 99, 1), (0, 99, 3)

-- case
-- The key came from the side of an outer join that is filled up with NULLs: its pin in ON said nothing of those rows, which were
-- stored on the pinned shard. Such an INSERT … SELECT is refused now.
--: extended loose
--$ 1 declared=0 binary=1082 '2023-12-31'
INSERT INTO visits (n, h, d) SELECT c2, c3, c1 FROM (SELECT k c1 FROM settings JOIN by_date ON k = '2024-01-01') c3 RIGHT JOIN (SELECT (n) c2, value c3 FROM settings) b5 ON c1 = $1 WHERE (c3 = 'a%_')
