-- A part of an INSERT that has none of the parameters declared them all, so that the server asked for their types (42P18).
-- The part's list of parameters was nil, which meant "as they are". It is empty now.
--: extended answered ordered
--$ 1 declared=0 binary=0 'a'
INSERT INTO by_text (k) VALUES ($1), ('東京'), ('x'), ('yy'), ('ß')
