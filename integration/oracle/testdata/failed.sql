-- A statement for another shard was carried out in a transaction that had failed. What is planned for one shard that has no part
-- in the transaction is told of the failure now, as is what cannot be planned.
BEGIN

UPDATE by_smallint SET n = 5 WHERE k = '-1' AND ('-32768')

--$ 1 declared=0 binary=20 '-1'
INSERT INTO order_items (customer_id, order_id, line) VALUES ('5000000000', $1, 1)

--$ 1 declared=0 binary=20 '-1'
INSERT INTO order_items (customer_id, order_id, line) VALUES ('5', $1, 1)

DELETE FROM notes c1 WHERE 12 = c1

ROLLBACK

-- case
-- The same with no shard in the transaction.
BEGIN

SELEC 1

--$ 1 declared=20 binary=20 '7'
SELECT id FROM customers WHERE id = $1

--: extended
SELECT 1

ROLLBACK

-- case
-- A savepoint was set in the transaction that several statements in one text are. PostgreSQL wants BEGIN for that.
--: loose
INSERT INTO by_text (k, v) VALUES ('5', 'b'), ('東京', '"quoted"'); SAVEPOINT s

--: loose
INSERT INTO by_text (k, v) VALUES ('5', 'b'), ('東京', '"quoted"'); SAVEPOINT s; SELECT 1/0
