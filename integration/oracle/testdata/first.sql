-- Keys in places where they say nothing about a row.
SELECT id FROM customers WHERE id = 1 OR name = 'a'

SELECT id FROM customers WHERE NOT (id = 1)

SELECT id FROM customers WHERE CASE WHEN id = 1 THEN false ELSE true END

-- case
-- A key in one arm of a UNION only.
SELECT id FROM customers WHERE id = 1 UNION SELECT id FROM customers WHERE id = 2

SELECT id FROM customers WHERE id = 1 UNION ALL SELECT id FROM customers

-- case
-- Rows of an INSERT go one by one.
--: answered ordered
INSERT INTO words (word, n) VALUES ('p', 1), ('q', 2), ('r', 3), ('s', 4), ('t', 5) RETURNING word, n

-- case
-- As ORMs write it.
--: extended answered
--$ 1 declared=0 binary=0 '5'
SELECT c.name, o.total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id = $1

-- case
-- A condition in the ON of an outer join says nothing about its preserved side.
SELECT c.id, o.id FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND c.id = 5

SELECT c.id, o.id FROM customers c LEFT JOIN orders o ON c.id = 5 AND o.customer_id = 5

-- case
-- Numbers that are not of the key's type are compared as numeric.
SELECT id FROM customers WHERE id = 1.0

SELECT id FROM customers WHERE id = 1.5

SELECT id FROM customers WHERE id = '1e3'

SELECT id FROM customers WHERE id = 99999999999999999999

-- case
-- A name of WITH hides a table.
WITH customers AS (SELECT * FROM customers WHERE id = 2) SELECT id FROM customers WHERE id = 1

WITH customers AS (SELECT 1 AS id) SELECT id FROM customers WHERE id = 2

-- case
-- The value of a literal decides each time, whatever plan is in the cache.
SELECT id, name FROM customers WHERE id IN (1, 2, 3)

SELECT id, name FROM customers WHERE id IN (4, 5, 6)

SELECT id, name FROM customers WHERE id IN (7, 7, 7)

SELECT id, name FROM customers WHERE id IN (7, NULL, 5000000000)
