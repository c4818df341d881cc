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
