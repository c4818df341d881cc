SELECT * FROM users WHERE id = 42
----
select id, name from "Users" u where u.id = 42 and name = 'bob' -- comment
----
SELECT abalance FROM pgbench_accounts WHERE aid = 12345;
----
UPDATE t SET a = -5, b = - 7, c = -0.5, d = - -3 WHERE id IN (1, 2, -3) AND x <> 'y'
----
INSERT INTO t (a, b, c) VALUES (1, 'x', NULL), (-2, E'y\n', DEFAULT), (3, $$z$$, TRUE) ON CONFLICT (a) DO UPDATE SET b = excluded.b || '!' RETURNING a, b
----
INSERT INTO t VALUES (1) ON CONFLICT (a int4_ops (siglen = 5)) WHERE a > 3 DO NOTHING
----
DELETE FROM t USING u WHERE t.id = u.id AND u.k = 9223372036854775807 AND u.j = 9223372036854775808
----
SELECT a, count(*) FROM t WHERE d > date '2020-01-01' GROUP BY 1 HAVING count(*) > 3 ORDER BY 2 DESC, 1 LIMIT 10 OFFSET 20
----
SELECT DISTINCT ON (1, b) a, 5 FROM t ORDER BY (1), b NULLS LAST FETCH FIRST 5 ROWS ONLY
----
SELECT x::numeric(10,2), y::varchar(20), CAST(z AS decimal(5)), w::float(24), v::int[3], u::int ARRAY[4], q::my.type(1,2), t::double precision FROM t WHERE a = '1'::int AND b = 5::bigint
----
SELECT current_timestamp(3), localtime(2), interval '1' day, interval(3) '1.5 s', interval '5' day to second(3), timestamp(3) with time zone '2020-01-01', bit(3) '101', B'101', x'1F', N'abc', numeric(3,1) '1.5'
----
SELECT ARRAY[1,2,3], ARRAY[[1,2],[3,4]], a[1], a[1:2], a[:3], (ARRAY[5])[1], '{1}'::int[], (m.f('x'))[2] FROM t WHERE a = ANY(ARRAY[7]) OR a = ANY('{1,2}')
----
SELECT extract(year FROM ts), extract('month' from ts), substring(s from 1 for 2), overlay(s placing 'x' from 1), position('a' in s), trim(both 'x' from s), s LIKE 'a%' ESCAPE '!', s SIMILAR TO 'b' , s NOT ILIKE 'q', ts AT TIME ZONE 'UTC' FROM t
----
SELECT CASE WHEN a = 1 THEN 'one' WHEN a BETWEEN 2 AND 3 THEN 'few' ELSE 'many' END, CASE a WHEN 5 THEN 6 END FROM t
----
WITH RECURSIVE r (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 100), x AS MATERIALIZED (SELECT 5 AS five) SELECT sum(n) FROM r, x WHERE n > 10
----
SELECT rank() OVER (PARTITION BY a, 3 ORDER BY b, 1 ROWS BETWEEN 5 PRECEDING AND CURRENT ROW), sum(c) FILTER (WHERE d = 4) OVER w FROM t WINDOW w AS (ORDER BY 1 RANGE 10 PRECEDING)
----
SELECT a FROM t WHERE id = 1 UNION SELECT b FROM u WHERE id = 2 INTERSECT (SELECT 3 ORDER BY 1 LIMIT 4) ORDER BY 1
----
SELECT * FROM a JOIN b ON a.id = b.id AND b.x = 5 LEFT JOIN c USING (id) CROSS JOIN LATERAL (SELECT 1 WHERE c.y = 'k') l NATURAL JOIN d WHERE NOT (a.z = 3 OR a.z IS NULL)
----
MERGE INTO t USING (VALUES (1, 'a')) s(id, v) ON t.id = s.id WHEN MATCHED AND t.x = 5 THEN UPDATE SET v = 'q' WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, 'new')
----
SELECT json_object('a': 1, 'b' VALUE 2 ABSENT ON NULL), json_array(1, 2 RETURNING jsonb), js -> 'k' ->> 0, js #> '{a,b}', js @> '{"x":1}' , json_arrayagg(x ORDER BY 1) FROM t
----
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), array_agg(DISTINCT b ORDER BY b DESC), string_agg(c, ', ' ORDER BY 1) FROM t GROUP BY GROUPING SETS ((1), (a, 2)), ROLLUP (3), CUBE (b)
----
SELECT U&'d\0061t\+000061', U&'d!0061' UESCAPE '!', U&"d\0061", u&"x!0061" UESCAPE '!' FROM t WHERE a = 'x'
----
SELECT 'a' 
  'b'
  'c', E'\'q\\', 'it''s', $tag$ $$ $tag$, $1, $2::int, "a""b" FROM t WHERE x=-1 AND y=+1 AND z=@-1 AND w!=-2
----
SELECT 1_000, 0x1F, 0o17, 0b11, 1e5, .5, 5., 1.5e-3, 007, 2147483647, 2147483648, 99999999999999999999
----
SELECT f(a => 1, b := 'x', VARIADIC ARRAY['q','r']), (SELECT max(id) FROM u WHERE u.t = t.id AND u.s = 7), EXISTS (SELECT 1 FROM v WHERE v.x = 5), ROW(1, 'x') = (a, b), (1, 2) < (a, b), (a).b, (f(1)).*, a.b.c FROM s.t t TABLESAMPLE bernoulli (10) REPEATABLE (5)
----
SELECT * FROM f(1, 'x') AS g (a numeric(10,2), b varchar(5)), ROWS FROM (h(2), i(3)) WITH ORDINALITY, XMLTABLE('/a' PASSING x COLUMNS y int PATH 'z' DEFAULT 5)
----
SELECT a OPERATOR(pg_catalog.+) 1, b COLLATE "C" < 'x', c IS DISTINCT FROM 5, d IS NOT NULL, e IN (SELECT 1), f NOT IN ('a', 'b'), g = ALL (SELECT 2), h::text || 'x' FROM t FOR UPDATE OF t NOWAIT
----
WITH q AS (DELETE FROM a WHERE id = 1 RETURNING *), w AS (INSERT INTO b SELECT *, 5 FROM q RETURNING id) UPDATE c SET x = 3 FROM w WHERE c.id = w.id AND c.y = 'z'
----
VALUES (1, 'a'), (2, 'b') ORDER BY 1 LIMIT 3
----
(SELECT 1) UNION ALL (SELECT 2)
----
TABLE t ORDER BY 1 LIMIT 5
----
SELECT * FROM t WHERE (a, b) IN ((1, 'x'), (2, 'y')) AND t.* IS NOT NULL AND c = 'a' COLLATE "de_DE" AND d = date 'today' AND e > now() - interval '1 day' AND f = time '10:00' AND g = my_type 'x' AND h = pg_catalog.date '2020-01-01'
----
SELECT SUM(a) AS limit_, a AS "order", 1 one, 'x' AS y INTO TEMP z FROM t WHERE a = 1
----
WITH RECURSIVE s AS (SELECT 1 AS x) SEARCH DEPTH FIRST BY x SET ord CYCLE x SET c TO 1 DEFAULT 0 USING p SELECT * FROM s WHERE x = 2
----
UPDATE t SET (a, b) = (1, 'x'), c[1] = 2, d[2:3] = '{}', e.f = 4, g = DEFAULT WHERE CURRENT OF cur
----
SELECT XMLELEMENT(NAME foo, XMLATTRIBUTES('a' AS b), 'c'), XMLPI(NAME p, 'q'), XMLROOT(x, VERSION '1.0', STANDALONE YES), XMLSERIALIZE(CONTENT x AS varchar(10)), XMLPARSE(DOCUMENT '<a/>'), x IS DOCUMENT, NORMALIZE('a', NFC), 'b' IS NFC NORMALIZED
----
SELECT grouping(a), treat(b AS int), collation for ('x'), coalesce(a, 1), nullif(a, 'x'), greatest(1, 2), a ISNULL, b NOTNULL, -a, +b, - 5, ~3, @ -4, |/ 25 FROM t WHERE (a, b) OVERLAPS (c, interval '1 day')
----
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a = 1 THEN 2 ELSE 3 END; SELECT 5; END; SELECT 1
----
CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); END
----
CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (1); DELETE FROM v); SELECT 2
----
CREATE FUNCTION g() RETURNS int AS 'select 1; select 2' LANGUAGE sql; CREATE FUNCTION h() RETURNS int AS $$ begin; end; $$ LANGUAGE plpgsql
----
BEGIN; SELECT 1; ; UPDATE t SET a = 'x;y' WHERE "b;c" = 2 /* ; */ ; COMMIT;
----
;;; SELECT 1 ;; -- end
----
FETCH 5 FROM c; MOVE ABSOLUTE -3 IN c; EXPLAIN (COSTS 0, FORMAT json) SELECT 1; EXECUTE p(1, 'x'); SET a = 5; PREPARE q AS SELECT 1
----
CREATE TABLE t (a int DEFAULT 5, b varchar(10) CHECK (b <> 'x'), c numeric(10, 2)) PARTITION BY HASH (a); CREATE TABLE p PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0)
----
COPY t (a, b) FROM STDIN WITH (FORMAT csv, DELIMITER ';'); DECLARE c CURSOR FOR SELECT 1; ALTER TABLE t ADD COLUMN z int DEFAULT 3; GRANT SELECT ON t TO bob; VACUUM (PARALLEL 2) t; DO $$ x $$; CALL p(1)
----
SELECT a/*x*/+/*y*/1 /* nested /* comment */ */ , b--c
+2 FROM t WHERE c<-1 AND d>=-.5 AND e->'x' IS NULL
----
SELECT "ünï", ÄÖ, 'ß', a$b FROM "täble" WHERE naïve = 'é'
----
SELECT zone 'x', like_ 'y', t.date 'z' FROM t WHERE date = '2020-01-01' AND extract = 1
