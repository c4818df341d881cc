-- The first row of a COPY with a header was lost in a transaction that had written on the shard before: whether the header had been sent
-- was told by whether the shard had been written to. In binary format the server did not recognize the stream.
BEGIN

INSERT INTO orders (customer_id, id) VALUES (20, 7)

--< 637573746f6d65725f69642c69640a32302c380a
COPY orders (customer_id, id) FROM STDIN (FORMAT csv, HEADER)

SELECT customer_id, id FROM orders WHERE customer_id = 20

COMMIT

-- case
BEGIN

INSERT INTO by_boolean (k, n) VALUES (true, 1), (false, 2)

--< 5047434f50590aff0d0a000000000000000000ffff
COPY by_boolean FROM STDIN (FORMAT binary)

--< 5047434f50590aff0d0a000000000000000000000200000001010000000400000005000200000001000000000400000006ffff
COPY by_boolean (k, n) FROM STDIN (FORMAT binary)

COMMIT

-- case
-- Two COPYs of one transaction.
BEGIN

--< 6b2c760a312c610a322c620a
COPY by_integer (k, v) FROM STDIN (FORMAT csv, HEADER)

--< 6b2c760a312c610a322c620a
COPY by_integer (k, v) FROM STDIN (FORMAT csv, HEADER)

--< 6b2c760a
COPY by_integer (k, v) FROM STDIN (FORMAT csv, HEADER)

COMMIT

-- case
-- The rows of a COPY to a reference table were counted once for every shard.
--< 7979094f6e650a7a7a0954776f0a
COPY countries (code, name) FROM STDIN

SELECT code, name FROM countries WHERE code IN ('yy', 'zz')
